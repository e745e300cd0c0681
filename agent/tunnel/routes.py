"""Routing, as far as it decides which local address may answer a peer.

Job: tell whether routing may have changed, and by which interface it now sends to an endpoint. Refuses to
know peers, and what anybody does about a change. Called by loop.
Source: linux/rtnetlink.h, RTM_GETROUTE; wireguard's socket.c, send4 and send6, for why it is asked.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Optional

from agent.wireguard.endpoint import Endpoint

# include/uapi/linux/rtnetlink.h, netlink.h
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 0x1
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_MARK = 1, 2, 4, 16
_GROUP_LINK, _GROUP_IPV4_ROUTE, _GROUP_IPV4_RULE = 0x1, 0x40, 0x80
_GROUP_IPV6_ROUTE, _GROUP_IPV6_RULE = 0x400, 0x40000
_GROUPS = _GROUP_LINK | _GROUP_IPV4_ROUTE | _GROUP_IPV4_RULE | _GROUP_IPV6_ROUTE | _GROUP_IPV6_RULE
"""Links, too: the IPv4 routes of one that goes down vanish without a word."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ROUTE = struct.Struct("=8BI")  # struct rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr


class Routes:
    """The routing of our own network namespace."""

    def __init__(self) -> None:
        self._changes = _netlink(_GROUPS)
        self._questions = _netlink(0)

    def changed(self) -> bool:
        """Whether anything may have changed since the last time this was asked."""
        changed = False
        try:
            while self._changes.recv(65536):
                changed = True
        except BlockingIOError:
            return changed
        except OSError:  # more than the socket could hold
            return True
        return changed

    def interface_to(self, endpoint: Endpoint, mark: int) -> Optional[int]:
        """The index of the interface that a datagram leaves by; None where none can, from this source."""
        with suppress(OSError):
            self._questions.send(_question(endpoint, mark))
            return _interface(self._questions.recv(65536))
        return None

    def close(self) -> None:
        """Gives the sockets back."""
        self._changes.close()
        self._questions.close()


def _netlink(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    return sock


def _question(endpoint: Endpoint, mark: int) -> bytes:
    family = socket.AF_INET if len(endpoint.ip) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, 8 * len(endpoint.ip), 8 * len(endpoint.source), 0, 0, 0, 0, 0, 0)
    body += _attribute(_RTA_DST, endpoint.ip)
    if endpoint.source:
        body += _attribute(_RTA_SRC, endpoint.source)
    if endpoint.scope:
        body += _attribute(_RTA_OIF, struct.pack("=I", endpoint.scope))
    if mark:
        body += _attribute(_RTA_MARK, struct.pack("=I", mark))
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    """Values here are whole words, so nothing is padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _interface(answer: bytes) -> Optional[int]:
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _RTM_NEWROUTE:
        return None
    for attribute, value in _attributes(answer[_HEADER.size + _ROUTE.size :]):
        if attribute == _RTA_OIF:
            return int.from_bytes(value, sys.byteorder)
    return None


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[max(_ATTRIBUTE.size, (length + 3) & ~3) :]
