"""`python -m tests.emulated [--kernel VERSION] COMMAND`: a command in an emulated machine, as root, here.

For example `python -m tests.emulated .venv/bin/python -m pytest tests/lab/test_host.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.emulated.kernel import DEFAULT, PACKAGES
from tests.emulated.machine import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulated", description=__doc__)
    parser.add_argument("--kernel", choices=sorted(PACKAGES), default=DEFAULT)
    parser.add_argument("--limit", type=int, default=300, help="seconds")
    parser.add_argument("--memory", type=int, default=1024, help="MB")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as share:
        done = run(
            given.command, Path(share), given.kernel, limit=given.limit, memory=given.memory, echo=True
        )
    if done.status is None:
        print(f"The machine did not get to the end. Its console:\n{done.console[-3000:]}", file=sys.stderr)
        return 125
    return done.status


if __name__ == "__main__":
    sys.exit(main())
