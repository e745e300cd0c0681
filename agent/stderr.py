"""Words for whoever called a command. Called by the commands of wg and quick, and by tunnels."""

from __future__ import annotations

import sys
from contextlib import suppress


def say(line: str) -> None:
    """One line, as all commands word them."""
    write(f"fleet-agent: {line}\n")


def write(text: str) -> None:
    """At once, for programs write there too; a closed stderr keeps nothing from being done."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
