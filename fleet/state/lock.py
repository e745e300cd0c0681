"""One writer at a time: a lock file that names its holder.

The lock itself is flock(2), which the kernel drops with the process that holds it, however it ends. The
file's text is for people, and for file systems that several machines share but do not lock together.
Called by `fleet.state.store`.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleet.errors import FleetError

_LONGEST = 4096


class StateLockedError(FleetError):
    """Another command is writing. The text names it and says what to do."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock; `started` is the process's start in clock ticks after the boot (proc(5))."""

    user: str
    machine: str
    pid: int
    started: int | None
    command: str
    since: str

    def __str__(self) -> str:
        return f"`{self.command}` of {self.user} on {self.machine} (pid {self.pid}, since {self.since})"


@contextmanager
def hold(file: Path, command: str) -> Iterator[None]:
    """Holds the lock; raises StateLockedError at once where another process does."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise FleetError(f"{file}: {error.strerror}: the state cannot be locked") from error
    try:
        _take(descriptor, file)
        _write(descriptor, json.dumps(asdict(_myself(command))))
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def _take(descriptor: int, file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _read(descriptor)
        raise StateLockedError(
            f"The state is in use by {holder or 'another command'}. Wait until that ends; nothing was changed"
        ) from None
    except OSError as error:
        raise FleetError(f"{file}: {error.strerror}: this file system cannot lock the state") from error
    holder = _read(descriptor)
    if holder is None:
        return
    if holder.machine != socket.gethostname():
        raise StateLockedError(
            f"The state is in use by {holder}, which cannot be seen from this machine. If you are sure that "
            f"it does not run any more, delete {file}; nothing was changed"
        )
    if holder.started is not None and _started(holder.pid) == holder.started:
        raise StateLockedError(f"The state is in use by {holder}. Wait until that ends; nothing was changed")


def _myself(command: str) -> Holder:
    pid = os.getpid()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(_user(), socket.gethostname(), pid, _started(pid), command, since)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _read(descriptor: int) -> Holder | None:
    text = os.pread(descriptor, _LONGEST, 0)
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
