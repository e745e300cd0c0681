"""How a datagram is handed to the kernel so that it goes to an endpoint as WireGuard would send it.

Job: which local address to speak from, whether the way there leads back into the tunnel, and all that as
the arguments of sendmsg, remembered until routing changes. Refuses to know sockets and datagrams. Called by
udp.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Optional, Union

from agent.tunnel.sockopts import IP_PKTINFO, IP_TOS, SOL_UDP, UDP_SEGMENT
from agent.wireguard.endpoint import Endpoint

_MOST_REMEMBERED = 4096

Ancillary = list[tuple[int, int, bytes]]
Address = Union[tuple[str, int], tuple[str, int, int, int]]


class Way(NamedTuple):
    """What sendmsg needs. `rows` is `ancillary` for datagrams in a row, by their size.

    `family` is 0 for IPv4, 1 for IPv6.
    """

    family: int
    address: Address
    ancillary: Ancillary
    rows: dict[int, Ancillary]

    def row(self, size: int) -> Ancillary:
        """The ancillary data for several datagrams of `size` bytes in one call."""
        ancillary = self.rows.get(size)
        if ancillary is None:
            segment = (SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))
            ancillary = self.rows[size] = [*self.ancillary, segment]
        return ancillary


class Ways:
    """The ways to endpoints, from a tunnel that marks what it sends with `mark`.

    `interface_to` tells by which interface routing sends to an endpoint with a mark, None: not known.
    `beyond` tells where the tunnel sends packets to an inner address on, and `tunnel_interface`, the index of
    its own interface, when to ask that; 0: never.
    """

    def __init__(
        self,
        interface_to: Callable[[Endpoint, int], Optional[int]],
        beyond: Callable[[bytes], Optional[Endpoint]],
    ) -> None:
        self._interface_to = interface_to
        self._beyond = beyond
        self.mark = 0
        self.tunnel_interface = 0
        self._known: dict[tuple[Endpoint, int], Way] = {}

    def forget(self) -> None:
        """Routing, a local address or the mark changed: each endpoint is looked at anew."""
        self._known.clear()

    def find(self, endpoint: Endpoint, tos: int) -> Optional[Way]:
        """None where the way leads back into the tunnel for ever.

        What leads through the tunnel once, as to a peer behind another, is looked at each time.
        """
        return self._known.get((endpoint, tos)) or self._find(endpoint, tos)

    def find_without_source(self, endpoint: Endpoint, tos: int) -> Optional[Way]:
        """For one whose local address cannot be sent from; None where nothing but that was chosen anyway."""
        return self._find(endpoint.without_source(), tos) if endpoint.source else None

    def give_source_up(self, endpoint: Endpoint, tos: int) -> None:
        """From now on the endpoint's way is what `find_without_source` found."""
        bare = self._known.get((endpoint.without_source(), tos))
        if bare is not None:
            self._known[endpoint, tos] = bare

    def _find(self, endpoint: Endpoint, tos: int) -> Optional[Way]:
        routed, interface = self._routed(endpoint)
        is_inside = bool(interface) and interface == self.tunnel_interface
        if is_inside and self._returns(routed):
            return None
        way = _way(routed, tos)
        if not is_inside:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[endpoint, tos] = way
        return way

    def _routed(self, endpoint: Endpoint) -> tuple[Endpoint, Optional[int]]:
        """What to send to, and by which interface that goes, if that is known.

        Routing chooses the source where it sends by another interface than the peer called (socket.c,
        send4). A source without interface answers at once what came in, which nobody needs to check.
        """
        if endpoint.source and not endpoint.source_interface:
            return endpoint, None
        interface = self._interface_to(endpoint, self.mark)
        if endpoint.source and interface != endpoint.source_interface:
            return self._routed(endpoint.without_source())
        return endpoint, interface

    def _returns(self, endpoint: Endpoint) -> bool:
        """Whether what the tunnel sends there, it is given back to send there again."""
        seen = set()
        while endpoint.ip not in seen:
            seen.add(endpoint.ip)
            following = self._beyond(endpoint.ip)
            if following is None or self._interface_to(following, self.mark) != self.tunnel_interface:
                return False
            endpoint = following
        return True


def _way(endpoint: Endpoint, tos: int) -> Way:
    if len(endpoint.ip) == 4:
        address: Address = (socket.inet_ntop(socket.AF_INET, endpoint.ip), endpoint.port)
        return Way(0, address, _ancillary4(endpoint, tos), {})
    address = (socket.inet_ntop(socket.AF_INET6, endpoint.ip), endpoint.port, 0, endpoint.scope)
    return Way(1, address, _ancillary6(endpoint, tos), {})


def _ancillary4(endpoint: Endpoint, tos: int) -> Ancillary:
    """The interface stays open: to name it would overrule routing, which WireGuard never does (socket.c)."""
    ancillary = []
    if endpoint.source:
        ancillary.append((socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4x", 0, endpoint.source)))
    if tos:
        ancillary.append((socket.IPPROTO_IP, IP_TOS, struct.pack("=i", tos)))
    return ancillary


def _ancillary6(endpoint: Endpoint, tos: int) -> Ancillary:
    ancillary = []
    if endpoint.source:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", endpoint.source, 0)))
    if tos:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", tos)))
    return ancillary
