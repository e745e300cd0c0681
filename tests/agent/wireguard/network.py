"""A network of devices with one clock that stands still between events: hours pass in a moment.

A datagram travels for `LATENCY`, unless the network's `weather` says otherwise.
"""

from __future__ import annotations

import heapq
import math
import random
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import NamedTuple, Optional

from agent.wireguard.clock import Time
from agent.wireguard.device import Device, Output, Peer
from agent.wireguard.endpoint import Endpoint

LATENCY = 0.01
EPOCH = 1_700_000_000 * 10**9
_UDP = 17


class Datagram(NamedTuple):
    """One outer UDP payload to `endpoint`."""

    endpoint: Endpoint
    data: bytes
    tos: int


def each(output: Output) -> list[Datagram]:
    """The datagrams that a device wants sent, one by one."""
    return [
        Datagram(row.endpoint, payload, row.tos) for row in output.datagrams for payload in row.payloads()
    ]


Weather = Callable[[Datagram], list[float]]
"""The journey times of the copies of a datagram that arrive."""


def _fine(datagram: Datagram) -> list[float]:
    return [LATENCY]


def packet(source: str, target: str, size: int = 84, tos: int = 0, body: bytes = b"") -> bytes:
    """A UDP-like IPv4 packet of `size` bytes, zeros after `body`."""
    addresses = ip_address(source).packed, ip_address(target).packed
    header = struct.pack("!BBHHHBBH4s4s", 0x45, tos, size, 0, 0, 64, _UDP, 0, *addresses)
    return (header + body).ljust(size, b"\0")


def packet6(source: str, target: str, size: int = 104, traffic_class: int = 0) -> bytes:
    """A UDP-like IPv6 packet of `size` bytes."""
    addresses = ip_address(source).packed, ip_address(target).packed
    head = 6 << 28 | traffic_class << 20
    return struct.pack("!IHBB16s16s", head, size - 40, _UDP, 64, *addresses) + bytes(size - 40)


class Node:
    """A device, where it is, and what went through it: everything with its time."""

    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.device = Device(network.random.randbytes)
        self.address = f"10.0.0.{number}"
        self.address6 = f"fd00::{number}"
        self.endpoint = Endpoint(bytes((192, 0, 2, number)), 51820)
        self.datagrams: list[tuple[float, Datagram]] = []
        self.packets: list[tuple[float, bytes]] = []

    def peer(self, other: Node) -> Peer:
        key = other.device.public_key
        assert key is not None
        return self.device.peers[key]

    def send(self, packet: bytes) -> None:
        self.device.send([packet], self.network.now)

    def say(self, other: Node, body: bytes = b"", size: int = 84) -> None:
        """Sends a packet to the other's inner address."""
        self.send(packet(self.address, other.address, size, body=body))

    def heard(self) -> list[bytes]:
        """The bodies of the UDP packets that came, up to the first zero, since the last call."""
        bodies = [data[20:].split(b"\0")[0] for _, data in self.packets if data[9] == _UDP]
        self.packets.clear()
        return bodies

    def sent(self, kind: Optional[int] = None) -> list[tuple[float, Datagram]]:
        """The datagrams sent since the last call, of one message type or of all, with their times."""
        datagrams = [item for item in self.datagrams if kind in (None, item[1].data[0])]
        self.datagrams.clear()
        return datagrams


class Network:
    """Nodes and what is on its way between them."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.nodes: list[Node] = []
        self.weather: Weather = _fine
        self._monotonic = 1000.0
        self._wall = EPOCH
        self._arrivals: list[tuple[float, int, Endpoint, Datagram]] = []
        self._count = 0

    @property
    def now(self) -> Time:
        return Time(self._monotonic, self._wall + round(self._monotonic * 10**9))

    def set_clocks(self, seconds: float) -> None:
        """The time of day is another one all at once."""
        self._wall += round(seconds * 10**9)

    def sleep(self, seconds: float) -> None:
        """All machines stand still meanwhile; what was on its way arrives when they wake up."""
        self._monotonic += seconds

    def node(self) -> Node:
        """A device with a key of its own, up."""
        node = Node(self, len(self.nodes) + 1)
        node.device.set_private_key(self.random.randbytes(32), self.now)
        node.device.up(self.now)
        self.nodes.append(node)
        return node

    def acquaint(self, one: Node, other: Node, psk: bytes = bytes(32)) -> None:
        """Makes them peers; only `one` knows where the other is."""
        for node, peer in ((one, other), (other, one)):
            assert peer.device.public_key is not None
            entry = node.device.add_peer(peer.device.public_key, self.now)
            entry.preshared_key = psk
            node.device.allowed_ips.insert(ip_network(peer.address), entry)
            node.device.allowed_ips.insert(ip_network(peer.address6), entry)
        one.device.set_endpoint(one.peer(other), other.endpoint, self.now)

    def pair(self, psk: bytes = bytes(32)) -> tuple[Node, Node]:
        """Two nodes that know where the other is."""
        one, other = self.node(), self.node()
        self.acquaint(one, other, psk)
        other.device.set_endpoint(other.peer(one), one.endpoint, self.now)
        return one, other

    def connected(self) -> tuple[Node, Node]:
        """Two nodes with a fresh session, which the first one asked for, and that carried no data yet."""
        one, other = self.pair()
        one.device.set_keepalive(one.peer(other), 1, self.now)
        self.run(0.1)
        one.device.set_keepalive(one.peer(other), 0, self.now)
        for node in (one, other):
            node.sent()
        return one, other

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self._monotonic + seconds
        self._collect()
        while True:
            at = min(self._events(), default=math.inf)
            if at > end:
                break
            self._monotonic = max(self._monotonic, at)
            self._arrive()
            for node in self.nodes:
                deadline = node.device.deadline()
                if deadline is not None and deadline <= self._monotonic:
                    node.device.advance(self.now)
            self._collect()
        self._monotonic = end

    def _events(self) -> Iterator[float]:
        if self._arrivals:
            yield self._arrivals[0][0]
        for node in self.nodes:
            deadline = node.device.deadline()
            if deadline is not None:
                yield deadline

    def _arrive(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self._monotonic:
            _, _, source, datagram = heapq.heappop(self._arrivals)
            for node in self.nodes:
                if node.endpoint[:2] == datagram.endpoint[:2]:
                    node.device.receive([(datagram.data, source, datagram.tos)], self.now)

    def _collect(self) -> None:
        for node in self.nodes:
            output = node.device.take()
            node.packets += [(self._monotonic, packet) for packet in output.packets]
            for datagram in each(output):
                node.datagrams.append((self._monotonic, datagram))
                for journey in self.weather(datagram):
                    self._count += 1
                    at = self._monotonic + journey
                    heapq.heappush(self._arrivals, (at, self._count, node.endpoint, datagram))
