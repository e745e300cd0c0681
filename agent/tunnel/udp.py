"""The UDP sockets: datagrams out and in, over IPv4 and IPv6 on one port.

Job: keep both sockets on one port and with one mark, receive and send in batches, answer from the local
address that a peer contacted, as long as routing agrees. Refuses to know what datagrams say. Called by
loop; uapi sets port and mark.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, Optional, Union

from agent.wireguard.device import Datagram
from agent.wireguard.endpoint import Endpoint

# include/uapi/linux/in.h, in6.h, asm-generic/socket.h; Python does not name all of them
_IP_TOS, _IP_PKTINFO, _IP_MTU_DISCOVER, _IP_RECVTOS = 1, 8, 10, 13
_IP_PMTUDISC_DONT = 0
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

_LONGEST_DATAGRAM = 65535
_ANCILLARY_SPACE = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)
_BUFFER = 4 << 20
"""Bytes that the kernel keeps for us each way while we do something else."""
_PATIENCE = 0.02
"""Seconds that sending may wait for room in the kernel's buffer before datagrams are dropped."""
_MOST_REMEMBERED = 4096
_ATTEMPTS = 64
"""How often a random port that is free for IPv4 but not for IPv6 is given back."""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Received = tuple[bytes, Endpoint, int]
"""A datagram, where it came from, and its TOS or traffic class byte."""
_Ancillary = list[tuple[int, int, bytes]]
_Address = Union[tuple[str, int], tuple[str, int, int, int]]


class _Way(NamedTuple):
    """How a datagram is handed to the kernel."""

    socket: socket.socket
    ancillary: _Ancillary
    address: _Address


class UdpSockets:
    """Both sockets, closed at first.

    `port` is 0 until one was set, or chosen by `open`, and stays after `close`. `interface_to` tells by which
    interface routing sends to an endpoint with a mark, None: not known. `beyond` tells where the
    tunnel sends packets to an inner address on, and `tunnel_interface`, the index of its own interface, when
    to ask that; 0: never.
    """

    def __init__(
        self,
        interface_to: Callable[[Endpoint, int], Optional[int]] = lambda endpoint, mark: (
            endpoint.source_interface
        ),
        beyond: Callable[[bytes], Optional[Endpoint]] = lambda address: None,
    ) -> None:
        self._interface_to = interface_to
        self._beyond = beyond
        self.port = 0
        self.fwmark = 0
        self.tunnel_interface = 0
        self._sockets: tuple[socket.socket, ...] = ()
        self._ways: dict[tuple[Endpoint, int], _Way] = {}
        self._origins: dict[object, tuple[Endpoint, int]] = {}
        self._epoll = select.epoll()

    @property
    def is_open(self) -> bool:
        """Whether datagrams can come and go."""
        return bool(self._sockets)

    def fileno(self) -> int:
        """Readable when `receive` has something to return; the same over all changes."""
        return self._epoll.fileno()

    def open(self) -> None:
        """Binds the port. Raises OSError; a host without IPv6 is no error."""
        if not self._sockets:
            self._replace(*_bind_pair(self.port, self.fwmark))

    def close(self) -> None:
        """Nothing comes or goes any more; port and mark stay set."""
        self._replace((), self.port)

    def set_port(self, port: int) -> bool:
        """Moves to another port, 0 for a random one; whether anything changed.

        Raises OSError; then everything is as before.
        """
        if port == self.port:
            return False
        if self._sockets:
            self._replace(*_bind_pair(port, self.fwmark))
        else:
            self.port = port
        return True

    def set_fwmark(self, mark: int) -> bool:
        """Marks what is sent, 0 for no mark; whether anything changed. Raises OSError; then nothing did."""
        if mark == self.fwmark:
            return False
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self.fwmark = mark
        self._ways.clear()
        return True

    def forget_ways(self) -> None:
        """Routing or a local address changed: the next datagram to each endpoint finds its way anew."""
        self._ways.clear()

    def receive(self, limit: int) -> list[Received]:
        """Up to `limit` datagrams of each address family that wait now."""
        received: list[Received] = []
        origins = self._origins
        for sock in self._sockets:
            recvmsg = sock.recvmsg
            with suppress(OSError):  # nothing waits, or an error that the kernel kept for an earlier datagram
                for _ in range(limit):
                    data, ancillary, _, address = recvmsg(
                        _LONGEST_DATAGRAM, _ANCILLARY_SPACE, socket.MSG_DONTWAIT
                    )
                    key = (address, *ancillary)
                    origin = origins.get(key)
                    if origin is None:
                        origin = self._remember_origin(key, address, ancillary)
                    received.append((data, *origin))
        return received

    def send(self, datagrams: Iterable[Datagram]) -> int:
        """Sends what can be sent; how many could not, as there is no route or no room.

        A local address that cannot be sent from any more is left out, as routing then chooses another.
        """
        refused = 0
        flags = 0
        ways = self._ways
        for endpoint, data, tos in datagrams:
            way = ways.get((endpoint, tos)) or self._remember_way(endpoint, tos)
            if way is None:
                refused += 1
                continue
            try:
                way.socket.sendmsg((data,), way.ancillary, flags, way.address)
            except BlockingIOError:
                flags = socket.MSG_DONTWAIT
                refused += 1
            except OSError:
                refused += self._send_without_source(endpoint, data, tos)
        return refused

    def _send_without_source(self, endpoint: Endpoint, data: bytes, tos: int) -> int:
        if not endpoint.source:
            return 1
        bare = endpoint.without_source()
        way = self._remember_way(bare, tos)
        if way is None:
            return 1
        try:
            way.socket.sendmsg((data,), way.ancillary, socket.MSG_DONTWAIT, way.address)
        except OSError:
            return 1
        if (bare, tos) in self._ways:
            self._ways[endpoint, tos] = way
        return 0

    def _replace(self, sockets: tuple[socket.socket, ...], port: int) -> None:
        for sock in self._sockets:
            sock.close()
        for sock in sockets:
            self._epoll.register(sock, select.EPOLLIN)
        self._sockets = sockets
        self.port = port
        self._ways.clear()

    def _remember_way(self, endpoint: Endpoint, tos: int) -> Optional[_Way]:
        """None where there is no way, or it leads back into the tunnel for ever.

        What leads through the tunnel once, as to a peer behind another, is looked at each time.
        """
        routed, interface = self._routed(endpoint)
        is_inside = bool(interface) and interface == self.tunnel_interface
        if is_inside and self._returns(routed):
            return None
        way = self._way(routed, tos)
        if way is not None and not is_inside:
            if len(self._ways) >= _MOST_REMEMBERED:
                self._ways.clear()
            self._ways[endpoint, tos] = way
        return way

    def _routed(self, endpoint: Endpoint) -> tuple[Endpoint, Optional[int]]:
        """What to send to, and by which interface that goes, if that is known.

        Routing chooses the source where it sends by another interface than the peer called (socket.c,
        send4). A source without interface answers at once what came in, which nobody needs to check.
        """
        if endpoint.source and not endpoint.source_interface:
            return endpoint, None
        interface = self._interface_to(endpoint, self.fwmark)
        if endpoint.source and interface != endpoint.source_interface:
            return self._routed(endpoint.without_source())
        return endpoint, interface

    def _returns(self, endpoint: Endpoint) -> bool:
        """Whether what the tunnel sends there, it is given back to send there again."""
        seen = set()
        while endpoint.ip not in seen:
            seen.add(endpoint.ip)
            following = self._beyond(endpoint.ip)
            if following is None or self._interface_to(following, self.fwmark) != self.tunnel_interface:
                return False
            endpoint = following
        return True

    def _remember_origin(self, key: object, address: _Address, ancillary: _Ancillary) -> tuple[Endpoint, int]:
        if len(self._origins) >= _MOST_REMEMBERED:
            self._origins.clear()
        origin = self._origins[key] = _origin(address, ancillary)
        return origin

    def _way(self, endpoint: Endpoint, tos: int) -> Optional[_Way]:
        """None where no socket speaks the endpoint's address family."""
        if len(endpoint.ip) == 4:
            if not self._sockets:
                return None
            return _Way(self._sockets[0], _ancillary4(endpoint, tos), _address4(endpoint))
        if len(self._sockets) < 2:
            return None
        return _Way(self._sockets[1], _ancillary6(endpoint, tos), _address6(endpoint))


def _address4(endpoint: Endpoint) -> _Address:
    return socket.inet_ntop(socket.AF_INET, endpoint.ip), endpoint.port


def _address6(endpoint: Endpoint) -> _Address:
    return socket.inet_ntop(socket.AF_INET6, endpoint.ip), endpoint.port, 0, endpoint.scope


def _ancillary4(endpoint: Endpoint, tos: int) -> _Ancillary:
    """The interface stays open: to name it would overrule routing, which WireGuard never does (socket.c)."""
    ancillary = []
    if endpoint.source:
        ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, endpoint.source)))
    if tos:
        ancillary.append((socket.IPPROTO_IP, _IP_TOS, struct.pack("=i", tos)))
    return ancillary


def _ancillary6(endpoint: Endpoint, tos: int) -> _Ancillary:
    ancillary = []
    if endpoint.source:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", endpoint.source, 0)))
    if tos:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", tos)))
    return ancillary


def _origin(address: _Address, ancillary: _Ancillary) -> tuple[Endpoint, int]:
    """The endpoint and the TOS byte that a datagram came with."""
    source, interface, tos = b"", 0, 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            interface, source = struct.unpack_from("=i4s", data)
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            source, interface = struct.unpack_from("=16sI", data)
        elif (level, kind) in ((socket.IPPROTO_IP, _IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            tos = data[0] if len(data) == 1 else struct.unpack_from("=i", data)[0]
    family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    scope = 0 if len(address) == 2 else address[3]
    return Endpoint(socket.inet_pton(family, address[0]), address[1], scope, source, interface), tos


def _bind_pair(port: int, mark: int) -> tuple[tuple[socket.socket, ...], int]:
    """One socket for IPv4 and, where there is IPv6, one for that; and their port. Raises OSError."""
    for _ in range(_ATTEMPTS):
        first = _bind(socket.AF_INET, port, mark)
        chosen: int = first.getsockname()[1]
        try:
            return (first, _bind(socket.AF_INET6, chosen, mark)), chosen
        except OSError as error:
            if error.errno in _NO_IPV6:
                return (first,), chosen
            first.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for both IPv4 and IPv6")


def _bind(family: socket.AddressFamily, port: int, mark: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        _prepare(sock, mark)
        sock.bind(("" if family == socket.AF_INET else "::", port))
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, mark: int) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
        # Routers may fragment what does not fit, as they may with the kernel's WireGuard: an inner packet
        # of the MTU's length must arrive even where nobody is told about a narrower path.
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)
    microseconds = int(_PATIENCE * 1e6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, microseconds))
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
