"""The UDP sockets: datagrams out and in, over IPv4 and IPv6 on one port.

Job: keep both sockets on one port and with one mark, receive and send in batches, many at a time where the
kernel takes and gives them so. Refuses to know what datagrams say. Called by loop; uapi sets port and mark.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Optional

from agent.tunnel.bind import bind_pair
from agent.tunnel.offloads import Offloads
from agent.tunnel.sockopts import IP_PKTINFO, IP_TOS, SOL_UDP, UDP_GRO
from agent.tunnel.ways import Address, Ancillary, Way, Ways
from agent.wireguard.device import Datagrams
from agent.wireguard.endpoint import Endpoint

_LONGEST_DATAGRAM = 65535
_ANCILLARY_SPACE = socket.CMSG_SPACE(20) + 2 * socket.CMSG_SPACE(4)
_MOST_REMEMBERED = 4096

Received = tuple[bytes, Endpoint, int]
"""A datagram, where it came from, and its TOS or traffic class byte."""


class _Origin(NamedTuple):
    """What came beside a datagram; `size` is that of each in a row of them, 0 where there is but one."""

    endpoint: Endpoint
    tos: int
    size: int


class UdpSockets:
    """Both sockets, closed at first.

    `port` is 0 until one was set, or chosen by `open`, and stays after `close`. `filenos` are the sockets
    that are open now, by their file descriptors. For `interface_to` and `beyond` see Ways. `say` takes a line
    for the operator, should an offload turn out not to work.
    """

    def __init__(
        self,
        interface_to: Callable[[Endpoint, int], Optional[int]] = lambda endpoint, mark: (
            endpoint.source_interface
        ),
        beyond: Callable[[bytes], Optional[Endpoint]] = lambda address: None,
        offloads: Offloads = Offloads(),  # noqa: B008
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.port = 0
        self._ways = Ways(interface_to, beyond)
        self._sends_rows = offloads.gso
        self._receives_rows = offloads.gro
        self._say = say
        self._flags = [0, 0]  # by family: MSG_DONTWAIT after a wait in vain, until there is room again
        self._sockets: tuple[socket.socket, ...] = ()
        self._origins: dict[object, _Origin] = {}
        self._epoll: Optional[select.epoll] = None
        self.filenos: dict[int, socket.socket] = {}

    @property
    def is_open(self) -> bool:
        """Whether datagrams can come and go."""
        return bool(self._sockets)

    @property
    def fwmark(self) -> int:
        """What is sent is marked with this; 0: with nothing."""
        return self._ways.mark

    def register_with(self, epoll: select.epoll) -> None:
        """From now on `epoll` tells, for each of `filenos`, whether `receive` has something to return."""
        self._epoll = epoll
        for fd in self.filenos:
            epoll.register(fd, select.EPOLLIN)

    def open(self) -> None:
        """Binds the port. Raises OSError; a host without IPv6 is no error."""
        if not self._sockets:
            self._replace(*bind_pair(self.port, self.fwmark, self._receives_rows))

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
            self._replace(*bind_pair(port, self.fwmark, self._receives_rows))
        else:
            self.port = port
        return True

    def set_fwmark(self, mark: int) -> bool:
        """Marks what is sent, 0 for no mark; whether anything changed. Raises OSError; then nothing did."""
        if mark == self.fwmark:
            return False
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self._ways.mark = mark
        self._ways.forget()
        return True

    def set_tunnel_interface(self, index: int) -> None:
        """The index of the tunnel's own interface, 0 where it has none in our network namespace."""
        self._ways.tunnel_interface = index

    def forget_ways(self) -> None:
        """Routing or a local address changed: the next datagram to each endpoint finds its way anew."""
        self._ways.forget()

    def receive(self, limits: Mapping[int, int]) -> list[Received]:
        """Datagrams that wait now, by file descriptor up to so many, and the rest of their row."""
        received: list[Received] = []
        for fd, sock in self.filenos.items():
            enough = len(received) + limits.get(fd, 0)
            while len(received) < enough:
                try:
                    data, ancillary, _, address = sock.recvmsg(
                        _LONGEST_DATAGRAM, _ANCILLARY_SPACE, socket.MSG_DONTWAIT
                    )
                except OSError:  # nothing waits, or an error that the kernel kept for an earlier datagram
                    break
                key = (address, *ancillary)
                endpoint, tos, size = self._origins.get(key) or self._remember(key, address, ancillary)
                if 0 < size < len(data):
                    starts = range(0, len(data), size)
                    received += [(data[start : start + size], endpoint, tos) for start in starts]
                else:
                    received.append((data, endpoint, tos))
        return received

    def send(self, row: Datagrams) -> int:
        """Sends what can be sent; how many datagrams could not, as there is no route or no room.

        A local address that cannot be sent from any more is left out, as routing then chooses another.
        """
        endpoint, tos, number, size, parts = row
        way = self._ways.find(endpoint, tos)
        if way is None or way.family >= len(self._sockets):
            return number
        family = way.family
        sock, flags = self._sockets[family], self._flags[family]
        if number > 1 and not self._sends_rows:
            return self._send_each(sock, way, row)
        try:
            ancillary = way.ancillary if number == 1 else way.row(size)
            sock.sendmsg(parts, ancillary, flags, way.address)
        except OSError as error:
            return self._send_otherwise(sock, way, row, error)
        if flags:
            self._flags[family] = 0
        return 0

    def _send_otherwise(self, sock: socket.socket, way: Way, row: Datagrams, error: OSError) -> int:
        """Sends what was refused with `error` in another way, if there is one; how many could not."""
        if isinstance(error, BlockingIOError):
            self._flags[way.family] = socket.MSG_DONTWAIT
            return row.number
        if row.number == 1:
            return self._send_without_source(sock, row, row.parts)
        if error.errno == errno.EIO:  # udp.c: the interface computes no checksums
            self._sends_rows = False
            self._say(f"datagrams are sent one by one from now on: {error.strerror}")
        return self._send_each(sock, way, row)

    def _send_each(self, sock: socket.socket, way: Way, row: Datagrams) -> int:
        refused = 0
        for payload in row.payloads():
            try:
                sock.sendmsg((payload,), way.ancillary, self._flags[way.family], way.address)
                self._flags[way.family] = 0
            except BlockingIOError:
                self._flags[way.family] = socket.MSG_DONTWAIT
                refused += 1
            except OSError:
                refused += self._send_without_source(sock, row, (payload,))
        return refused

    def _send_without_source(self, sock: socket.socket, row: Datagrams, parts: Iterable[bytes]) -> int:
        way = self._ways.find_without_source(row.endpoint, row.tos)
        if way is None:
            return 1
        try:
            sock.sendmsg(parts, way.ancillary, socket.MSG_DONTWAIT, way.address)
        except OSError:
            return 1
        self._ways.give_source_up(row.endpoint, row.tos)
        return 0

    def _replace(self, sockets: tuple[socket.socket, ...], port: int) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets = sockets
        self.filenos = {sock.fileno(): sock for sock in sockets}
        if self._epoll is not None:
            self.register_with(self._epoll)
        self.port = port
        self._ways.forget()

    def _remember(self, key: object, address: Address, ancillary: Ancillary) -> _Origin:
        if len(self._origins) >= _MOST_REMEMBERED:
            self._origins.clear()
        origin = self._origins[key] = _origin(address, ancillary)
        return origin


def _origin(address: Address, ancillary: Ancillary) -> _Origin:
    source, interface, tos, size = b"", 0, 0, 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            interface, source = struct.unpack_from("=i4s", data)
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            source, interface = struct.unpack_from("=16sI", data)
        elif (level, kind) in ((socket.IPPROTO_IP, IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            tos = data[0] if len(data) == 1 else struct.unpack_from("=i", data)[0]
        elif (level, kind) == (SOL_UDP, UDP_GRO):
            (size,) = struct.unpack_from("=i", data)
    family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    scope = 0 if len(address) == 2 else address[3]
    ip = socket.inet_pton(family, address[0])
    return _Origin(Endpoint(ip, address[1], scope, source, interface), tos, size)
