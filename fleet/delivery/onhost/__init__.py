"""Runs on hosts, not here: standard library of Python 3.9 only, no import of anything beside it."""
