"""This process in another network namespace for a while, so that what is tested needs no helper process.

Called by the lab tests of the agent's host layer.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.namespaces import Namespace

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h; os.setns exists from Python 3.12 on


@contextmanager
def inside(space: Namespace) -> Iterator[None]:
    """Sockets, and processes started within, are of `space`; files and other threads stay what they are."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{space.name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(there)
        os.close(home)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
