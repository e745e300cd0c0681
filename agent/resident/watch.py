"""A cheap eye on interfaces: the kernel tells when any link changes, and looking costs microseconds.

Job: a socket that becomes readable when links change, and the indexes of named interfaces. Refuses to
decide what a change means. Called by service.

rtnetlink(7): a raw socket that has joined the group RTMGRP_LINK gets a message for each link that is
made, changed or removed in its network namespace. What the messages say is not read: several may be
lost when many come (ENOBUFS), so after any of them the named interfaces are looked up. Of other namespaces
nothing is told: a look into one costs a short-lived thread, a tenth of a millisecond.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from functools import partial
from typing import Optional

from agent.netns import Place, identity, within

_RTMGRP_LINK = 1

Sighting = tuple[int, ...]
"""The index of an interface, and behind it what tells its namespace where that is not ours."""


class Watch:
    """Wakes its owner when links change. Raises OSError where the kernel does not let us listen."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._socket.bind((0, _RTMGRP_LINK))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when links changed since `drain`."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Takes what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                # ENOBUFS tells that messages were lost; it is told once, so reading goes on.
                with contextlib.suppress(_LostError):
                    self._receive()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        try:
            self._socket.recv(65536)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _LostError from error


class _LostError(Exception):
    """Messages did not fit into the socket's buffer."""


def indexes(places: Iterable[Place]) -> dict[str, Optional[Sighting]]:
    """What tells each interface from any other of its name, None where there is none."""
    found: dict[str, Optional[Sighting]] = {}
    by_netns: dict[Optional[str], list[str]] = {}
    for place in places:
        by_netns.setdefault(place.netns, []).append(place.interface)
    for netns, names in by_netns.items():
        space = () if netns is None else identity(netns)
        try:
            seen = dict.fromkeys(names) if space is None else within(netns, partial(_indexes, names))
        except OSError:
            seen = dict.fromkeys(names)
        for name, index in seen.items():
            found[name] = None if index is None else (index, *(space or ()))
    return found


def _indexes(names: Iterable[str]) -> dict[str, Optional[int]]:
    found: dict[str, Optional[int]] = {}
    for name in names:
        try:
            found[name] = socket.if_nametoindex(name)
        except OSError:
            found[name] = None
    return found
