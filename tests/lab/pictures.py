"""Pictures of hosts compared. Called by the tests of removal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURE = Path(__file__).with_name("picture.py").read_text()
"""The program that takes one, on the host."""


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs, for a message that can be read."""
    found: dict[str, Any] = {}
    for part in before.keys() | after.keys():
        one, other = before.get(part), after.get(part)
        if one != other and isinstance(one, dict) and isinstance(other, dict):
            names = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            found[part] = {name: (one.get(name), other.get(name)) for name in names}
        elif isinstance(one, list) and isinstance(other, list) and one != other:
            gone, new = [i for i in one if i not in other], [i for i in other if i not in one]
            found[part] = {"gone": gone, "new": new} if gone or new else (one, other)
        elif one != other:
            found[part] = (one, other)
    return found
