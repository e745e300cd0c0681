"""Files that only root may read, and that are never half written.

Job: private folders, atomic replacement, locks that end with their process. Refuses to know what is in
the files. Called by store, server, service and supervise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Optional

_PARTIAL = ".partial"


def private_folder(folder: Path) -> None:
    """Makes `folder` one that its owner alone may enter. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "not a folder", str(folder))
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def replace_file(file: Path, data: bytes) -> None:
    """Puts `data` in place of what `file` held: whoever reads it, also after a crash, finds old or new.

    On disk when it returns. Raises OSError, the old file being untouched then.
    """
    partial = file.with_name(file.name + _PARTIAL)
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()  # of a crash
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:  # noqa: PTH123
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Brings renames within `folder` to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """A lock on a file, held from `take` until `release` or the end of the process; the file says by whom."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: Optional[int] = None

    def take(self) -> bool:
        """Whether the lock is ours now. Raises OSError."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locks(descriptor):
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Lets go of it, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Optional[int]:
        """The process that holds it; None where nobody does, or nobody has said so yet."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 20).strip()
            return int(text) if text.isdigit() else None
        else:
            return None
        finally:
            os.close(descriptor)


def _locks(descriptor: int) -> bool:
    """Tries for a moment: whoever asks who the holder is has the lock for an instant."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False
