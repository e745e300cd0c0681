"""The two consoles and JSON. Colours and progress appear on terminals only (rich sees to that)."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import Any

from rich.console import Console

_WIDE = 250


@cache
def out() -> Console:
    """Standard output, for results; where it is no terminal, tables are as wide as they need to be."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(highlight=False, soft_wrap=True, width=wide)


@cache
def err() -> Console:
    """Standard error, for progress and warnings."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output, and nothing else there."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=False) + "\n")
