"""One target under the fuzzer: `python -m tests.fuzz.child TARGET PROGRAM LIBFUZZER-ARGUMENT...`.

PROGRAM runs this again, with other arguments for the fuzzer: it does so itself to merge corpora.

Called by runner, in a process of its own: the fuzzer ends the process that it runs in.
"""

from __future__ import annotations

import importlib
import sys

import atheris


def main() -> None:
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["agent", "fleet"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    atheris.Setup(arguments, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
