"""One file a target: `check(data)` raises where an invariant is hurt, `TOKENS` are words of its language."""
