"""`python -m tests.fuzz SECONDS [TARGET...]`: fuzzes each target that long; new inputs are kept.

An input that fails is put into the target's corpus as `failed-HASH`, where the tests find it until the
fault is mended; then give it a name that says what it was.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from tests.fuzz.runner import CORPUS, TARGETS, fuzz, merge


def main() -> int:
    words = sys.argv[1:]
    if not words or not words[0].isdecimal() or not set(words[1:]) <= set(TARGETS):
        print(f"usage: python -m tests.fuzz SECONDS [TARGET...]\ntargets: {' '.join(TARGETS)}")
        return 2
    failures = 0
    for name in words[1:] or TARGETS:
        failures += not _fuzz(name, int(words[0]))
    return 1 if failures else 0


def _fuzz(name: str, seconds: int) -> bool:
    """Whether nothing failed."""
    print(f"{name}: {seconds} s", flush=True)
    with tempfile.TemporaryDirectory() as found:
        run = fuzz(name, seconds, 0, Path(found))
        if run.failing is not None:
            place = CORPUS / name / f"failed-{hashlib.sha256(run.failing).hexdigest()[:12]}"
            place.write_bytes(run.failing)
            print(f"{run.log[-4000:]}\n{name}: failed with {place}")
            return False
        print("\n".join(line for line in run.log.splitlines() if line.startswith("stat::")))
        merged = merge(name, Path(found))
    if run.exit_code or merged.exit_code:
        print(f"{run.log[-2000:]}\n{merged.log[-2000:]}\n{name}: the fuzzer itself failed")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
