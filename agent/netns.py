"""Named network namespaces, as ip-netns(8) keeps them: one at work in them, and whether they are there.

Job: run a call inside one, tell one from another of the same name, say clearly that one is missing. Refuses
to make or keep any: whoever holds a file descriptor of one keeps it alive. Called by host, probe
and watch.

The calling thread never changes its own namespace: a call is run by a short-lived thread that does (setns(2)
is per thread), and so are the sockets and the processes that it makes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple, Optional, TypeVar

FOLDER = Path("/run/netns")

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h; os.setns exists from Python 3.12 on only
_Result = TypeVar("_Result")


class Place(NamedTuple):
    """An interface's name, and the network namespace that it is in: None for the agent's own."""

    interface: str
    netns: Optional[str] = None


class NamespaceError(OSError):
    """There is no such namespace; `str` is the end of a sentence for people."""

    def __init__(self, netns: str) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT))
        self.netns = netns

    def __str__(self) -> str:
        return (
            f"this host has no network namespace {self.netns} ({FOLDER / self.netns}): start what makes it, "
            f"or name it (ip netns attach {self.netns} PID); the interface is made once it is there"
        )


def within(netns: Optional[str], act: Callable[[], _Result]) -> _Result:
    """What `act` returns or raises, run inside `netns`; None: here and now. Raises NamespaceError."""
    if netns is None:
        return act()
    results: list[_Result] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            _enter(netns)
            results.append(act())
        except BaseException as error:  # it belongs to whoever called us
            faults.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


def identity(netns: str) -> Optional[tuple[int, int]]:
    """Device and inode: another namespace of the same name has another one. None where there is none."""
    try:
        found = (FOLDER / netns).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def opened(netns: str) -> Iterator[int]:
    """A file descriptor of the namespace, for a moment. Raises NamespaceError."""
    try:
        descriptor = os.open(FOLDER / netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(netns) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(netns: str) -> None:
    """For good: this thread ends with what it was made for."""
    with opened(netns) as descriptor:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            if number == errno.EINVAL:  # a file that a namespace was once mounted on
                raise NamespaceError(netns)
            raise OSError(number, f"setns: {os.strerror(number)}")
