"""One line an event, with fields where the journal takes them. Called by what of the agent lives long.

A line goes to stderr. Where that is the journal's, it is sent by its native protocol instead, with its fields
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL): `journalctl FLEET_INTERFACE=wg0` finds what concerns one
interface. Elsewhere the line carries the time. A log that cannot be written (a full disk, a reader that is
gone) never stops what it tells of.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from typing import Optional

_JOURNAL = "/run/systemd/journal/socket"
_INFO, _WARNING = 6, 4


def log(text: str, *, warning: bool = False, **fields: Optional[str]) -> None:
    """Prints `text` as one line. Neither it nor `fields` may hold a secret; a None is no field."""
    line = " ".join(text.split())
    if is_journal() and _sent(line, _WARNING if warning else _INFO, fields):
        return
    if "JOURNAL_STREAM" not in os.environ:
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def entry(line: str, priority: int, fields: dict[str, Optional[str]]) -> bytes:
    """What the journal is sent; a value is one line."""
    values = {"MESSAGE": line, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "fleet-agent"}
    values.update({f"FLEET_{name.upper()}": value for name, value in fields.items() if value is not None})
    return "".join(f"{name}={' '.join(value.split())}\n" for name, value in values.items()).encode()


def is_journal() -> bool:
    """Whether stderr is what systemd connected with its journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _sent(line: str, priority: int, fields: dict[str, Optional[str]]) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(entry(line, priority, fields), _JOURNAL)
        return True
    return False
