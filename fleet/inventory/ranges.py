"""Host keys of an inventory: `web[01:20].example.com`, `[fd00::1]:2222`. Pure.

As Ansible reads them (intro_inventory, "Adding ranges of hosts"): numbers with the same leading zeros,
letters, an optional step; several ranges multiply, the leftmost slowest. Called by `tree`.
"""

from __future__ import annotations

import re
import string
from ipaddress import ip_address

MAX_HOSTS = 100_000
_RANGE = re.compile(r"\[([^\[\]]*)\]")
_BRACKETED_PORT = re.compile(r"\[(.+)\]:([0-9]+)")
_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]+)")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def expand(key: str) -> tuple[list[str], int | None]:
    """The names that a key of `hosts` stands for, and the SSH port that it carries.

    Raises ValueError, a sentence, for what is no name or range.
    """
    port = None
    found = _BRACKETED_PORT.fullmatch(key) or _PORT.fullmatch(key)
    if found:
        key, port = found[1], int(found[2])
        if not 0 < port < 65536:
            raise ValueError(f"the port {port} is not a number from 1 to 65535")
    names = [key]
    while "[" in names[0]:
        names = [name for prefix in names for name in _expand_first(prefix)]
        if len(names) > MAX_HOSTS:
            raise ValueError(f"host {key!r}: a range of more than {MAX_HOSTS} hosts")
    for name in names:
        check_name(name)
    return names, port


def check_name(name: str) -> None:
    """Raises ValueError for what cannot be a host's name."""
    if len(name) > 253 or not (_NAME.fullmatch(name) or _is_address(name)):
        raise ValueError(f"host {name!r}: expected letters, digits, -, _ and dots, or an IP address")


def _expand_first(name: str) -> list[str]:
    found = _RANGE.search(name)
    if found is None:
        raise ValueError(f"host {name!r}: a range is [FIRST:LAST] or [FIRST:LAST:STEP]")
    head, tail = name[: found.start()], name[found.end() :]
    parts = found[1].split(":")
    if len(parts) not in (2, 3):
        raise ValueError(f"host {name!r}: a range is [FIRST:LAST] or [FIRST:LAST:STEP]")
    first, last = parts[0] or "0", parts[1]
    step = parts[2] if len(parts) == 3 else "1"
    if not step.isdecimal() or int(step) == 0:
        raise ValueError(f"host {name!r}: the step {step!r} is not a number from 1 up")
    values = _values(name, first, last, int(step))
    if not values:
        raise ValueError(f"host {name!r}: the range ends before it begins")
    return [f"{head}{value}{tail}" for value in values]


def _values(name: str, first: str, last: str, step: int) -> list[str]:
    letters = string.ascii_letters
    if len(first) == len(last) == 1 and first in letters and last in letters:
        return list(letters[letters.index(first) : letters.index(last) + 1 : step])
    if not (first.isdecimal() and last.isdecimal() and first.isascii() and last.isascii()):
        raise ValueError(f"host {name!r}: a range goes over numbers or single letters")
    width = len(first) if first[0] == "0" and len(first) > 1 else 0
    if width and len(last) != width:
        raise ValueError(f"host {name!r}: {first} and {last} must have the same number of digits")
    numbers = range(int(first), int(last) + 1, step)
    if len(numbers) > MAX_HOSTS:
        raise ValueError(f"host {name!r}: a range of more than {MAX_HOSTS} hosts")
    return [str(number).zfill(width) for number in numbers]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return "%" not in name
