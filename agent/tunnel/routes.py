"""Routing, as far as it decides which local address may answer a peer, and where packets end.

Job: tell when routing or a local address may have changed, by which interface routing now sends to an
endpoint, and which addresses are this host's own. Refuses to know peers, and what anybody does about a
change. Called by loop and ways.
Source: linux/rtnetlink.h, RTM_GETROUTE; wireguard's socket.c, send4 and send6, for why it is asked.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import Optional

from agent.tunnel import netlink
from agent.wireguard.endpoint import Endpoint

# include/uapi/linux/rtnetlink.h
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_MARK = 1, 2, 4, 16
_RTN_LOCAL = 2
_GROUP_LINK = 0x1
_GROUPS_IPV4 = 0x10 | 0x40 | 0x80  # addresses, routes, rules
_GROUPS_IPV6 = 0x100 | 0x400 | 0x40000
_GROUPS = _GROUP_LINK | _GROUPS_IPV4 | _GROUPS_IPV6
"""Links, too: the IPv4 routes of one that goes down vanish without a word."""

_MOST_REMEMBERED = 4096

_ROUTE = struct.Struct("=8BI")  # struct rtmsg


class Routes:
    """The routing of our own network namespace."""

    def __init__(self) -> None:
        self._changes = netlink.connect(_GROUPS)
        self._questions = netlink.connect()
        self._own: dict[bytes, bool] = {}

    def fileno(self) -> int:
        """Readable when anything may have changed."""
        return self._changes.fileno()

    def note_changes(self) -> None:
        """What `fileno` has told is known."""
        netlink.drain(self._changes)
        self._own.clear()

    def interface_to(self, endpoint: Endpoint, mark: int) -> Optional[int]:
        """The index of the interface that a datagram leaves by; None where none can, from this source."""
        answer = self._ask(endpoint, mark)
        return _interface(answer) if answer else None

    def is_own(self, address: bytes) -> bool:
        """Whether packets to this address, of 4 or 16 bytes, are delivered on this host."""
        own = self._own.get(address)
        if own is None:
            if len(self._own) >= _MOST_REMEMBERED:
                self._own.clear()
            answer = self._ask(Endpoint(address, 0), 0)
            own = self._own[address] = answer is not None and _kind(answer) == _RTN_LOCAL
        return own

    def _ask(self, endpoint: Endpoint, mark: int) -> Optional[bytes]:
        """The route that the kernel would take; None where there is none."""
        with suppress(OSError):
            self._questions.send(_question(endpoint, mark))
            answer = self._questions.recv(65536)
            _, kind, _, _, _ = netlink.HEADER.unpack_from(answer)
            return answer if kind == _RTM_NEWROUTE else None
        return None

    def close(self) -> None:
        """Gives the sockets back."""
        self._changes.close()
        self._questions.close()


def _question(endpoint: Endpoint, mark: int) -> bytes:
    family = socket.AF_INET if len(endpoint.ip) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, 8 * len(endpoint.ip), 8 * len(endpoint.source), 0, 0, 0, 0, 0, 0)
    body += netlink.attribute(_RTA_DST, endpoint.ip)
    if endpoint.source:
        body += netlink.attribute(_RTA_SRC, endpoint.source)
    if endpoint.scope:
        body += netlink.attribute(_RTA_OIF, struct.pack("=I", endpoint.scope))
    if mark:
        body += netlink.attribute(_RTA_MARK, struct.pack("=I", mark))
    return netlink.request(_RTM_GETROUTE, body)


def _interface(route: bytes) -> Optional[int]:
    for attribute, value in netlink.attributes(route[netlink.HEADER.size + _ROUTE.size :]):
        if attribute == _RTA_OIF:
            return int.from_bytes(value, sys.byteorder)
    return None


def _kind(route: bytes) -> int:
    return route[netlink.HEADER.size + 7]  # rtm_type
