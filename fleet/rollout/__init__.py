"""Carries intent to hosts: reach them, decide what each needs, do it in parallel, read again."""
