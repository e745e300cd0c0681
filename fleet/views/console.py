"""The two consoles and JSON. Colours and progress appear on terminals only (rich sees to that)."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

from rich.console import Console


@cache
def out() -> Console:
    """Standard output, for results."""
    return Console(highlight=False, soft_wrap=True)


@cache
def err() -> Console:
    """Standard error, for progress and warnings."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output, and nothing else there."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=False) + "\n")
