"""The two consoles and JSON. Colours and progress appear on terminals only (rich sees to that).

Refuses to know what is shown. Called by the other views.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import Any

from rich import markup
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


def escape(text: str) -> str:
    """A text as `visible` shows it, its brackets no markup."""
    return markup.escape(visible(text))


def visible(text: str) -> str:
    """A text in which whatever would move the cursor or colour the screen is spelt out.

    For words that come from hosts and files, so that none of them can speak to the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def emit_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output, and nothing else there."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=False) + "\n")


def number_of_hosts(count: int) -> str:
    """So many of them, in words."""
    return f"{count} host{'s' if count > 1 else ''}"


def confirmed(question: str) -> bool:
    """Whether the operator wants it; on a terminal alone."""
    from rich.prompt import Confirm

    return Confirm.ask(question, console=out(), default=False)
