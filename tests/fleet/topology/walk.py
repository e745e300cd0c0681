"""A slow, obvious network: packets walk hop by hop through everyone's tables.

Knows bundles and what a kernel and WireGuard do with them, nothing of how they were made. A host looks a
destination up among its own addresses, its subnets and the tunnel's routes; in the tunnel, AllowedIPs
choose the peer; the receiver drops what its own AllowedIPs would not send back to that peer; only a
forwarding host passes packets on. Called by the property tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

from agent.bundle import Bundle, Peer
from fleet.inventory.model import Address, Network

T = TypeVar("T")


class DroppedError(Exception):
    """A packet that did not arrive, and why."""


class Machine:
    """One host: its bundle and the networks that are plugged into it."""

    def __init__(self, bundle: Bundle, subnets: Sequence[Network]) -> None:
        (interface,) = bundle.interfaces
        self.forwarding = bundle.forwarding
        self.public_key = interface.public_key
        self.subnets = subnets
        self.addresses: list[Address] = [ip_interface(text).ip for text in interface.addresses]
        self.peers = {peer.public_key: peer for peer in interface.peers}
        self._allowed = [(ip_network(p), peer) for peer in interface.peers for p in peer.allowed_ips]
        self._routes = [(ip_network(route.destination), route) for route in interface.routes]

    def peer_for(self, address: Address) -> Peer | None:
        return longest(address, self._allowed)

    def source_for(self, destination: Address) -> Address | None:
        """The address that a packet of the host itself carries; None where nothing sets it."""
        route = longest(destination, self._routes)
        return ip_address(route.source) if route is not None and route.source else None

    def is_behind(self, destination: Address) -> bool | None:
        """Whether a destination is in a subnet of the host, not in the tunnel; None for in neither."""
        return longest(
            destination,
            [(net, True) for net in self.subnets] + [(net, False) for net, _ in self._routes],
        )


class Net:
    """All machines, by host name."""

    def __init__(self, bundles: Mapping[str, Bundle], subnets: Mapping[str, Sequence[Network]]) -> None:
        self.machines = {name: Machine(bundle, subnets[name]) for name, bundle in bundles.items()}
        self._by_key = {machine.public_key: name for name, machine in self.machines.items()}

    def walk(self, start: str, source: Address, destination: Address) -> list[str]:
        """The hosts that a packet passes, `start` and the one it arrives at included."""
        passed = [start]
        forwarded = source not in self.machines[start].addresses
        while True:
            name = passed[-1]
            if self._arrives(name, destination, forwarded):
                return passed
            if forwarded and not self.machines[name].forwarding:
                raise DroppedError(f"{name} does not forward")
            passed.append(self._through_tunnel(name, source, destination))
            forwarded = True
            if passed.count(passed[-1]) > 1:
                raise DroppedError(f"a circle: {passed}")

    def _arrives(self, name: str, destination: Address, forwarded: bool) -> bool:
        machine = self.machines[name]
        if destination in machine.addresses:
            return True
        behind = machine.is_behind(destination)
        if behind is None:
            raise DroppedError(f"{name} has no route to {destination}")
        if behind and forwarded and not machine.forwarding:
            raise DroppedError(f"{name} does not forward to its subnets")
        return behind

    def _through_tunnel(self, name: str, source: Address, destination: Address) -> str:
        sender = self.machines[name]
        peer = sender.peer_for(destination)
        if peer is None:
            raise DroppedError(f"{name} has no peer for {destination}")
        next_name = self._by_key[peer.public_key]
        receiver = self.machines[next_name]
        back = receiver.peers.get(sender.public_key)
        if back is None or back.preshared_key != peer.preshared_key:
            raise DroppedError(f"{name} and {next_name} cannot shake hands")
        if peer.endpoint is None and back.endpoint is None:
            raise DroppedError(f"neither of {name} and {next_name} can call")
        if receiver.peer_for(source) is not back:
            raise DroppedError(f"{next_name} does not accept {source} from {name}")
        return next_name


def longest(address: Address, table: Iterable[tuple[Network, T]]) -> T | None:
    """The value of the longest prefix that has the address; there must not be two."""
    found = [(net.prefixlen, value) for net, value in table if address in net]
    if not found:
        return None
    best = max(length for length, _ in found)
    (value,) = [value for length, value in found if length == best]
    return value
