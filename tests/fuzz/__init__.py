"""Coverage-guided fuzzing of everything that reads what a peer, a client or a host has sent.

`targets/NAME.py` checks one reader with one input, `corpus/NAME/` are inputs worth keeping: seeds, named
after what they show, and what the fuzzer found, named after its hash. `python -m tests.fuzz` runs it.
"""
