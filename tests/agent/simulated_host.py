"""A host in memory that does converge's steps as Linux and WireGuard would, for tests of their order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Literal, Optional, Union

from agent.bundle import Route
from agent.converge.network import Place, place
from agent.operations import (
    AddAddress,
    AddInterface,
    AddRule,
    RemoveAddress,
    RemoveAllowedIPs,
    RemoveFirewall,
    RemoveInterface,
    RemovePeer,
    RemoveRoute,
    RemoveRule,
    SetDevice,
    SetFirewall,
    SetForwarding,
    SetLink,
    SetMarkValidation,
    SetPeer,
    SetRoute,
    Step,
)
from agent.report import Observed, ObservedFirewall, ObservedInterface, ObservedPeer


@dataclass
class Device:
    """What is on one interface; `peers` by public key, each without its AllowedIPs, which are in `owners`."""

    backend: str
    seen: ObservedInterface
    peers: dict[str, ObservedPeer] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    routes: dict[Place, Route] = field(default_factory=dict)


class SimulatedHost:
    """`auto` is what the backend `auto` turns out to be; `resolve` gives endpoints as a device shows them."""

    def __init__(
        self,
        observed: Observed = Observed(),  # noqa: B008 - frozen
        auto: str = "userspace",
        resolve: Callable[[str], str] = lambda endpoint: endpoint,
    ) -> None:
        self._auto = auto
        self._resolve = resolve
        self.forwarding = observed.forwarding
        self.rules = list(observed.rules)
        self.marks_validated = observed.marks_validated
        self.firewalls = {seen.interface: seen for seen in observed.firewalls}
        self.devices = {seen.name: _device(seen) for seen in observed.interfaces}

    def observe(self) -> Observed:
        """As a report has it."""
        devices = tuple(_observed(device) for device in self.devices.values())
        return Observed(
            devices,
            self.forwarding,
            tuple(self.firewalls.values()),
            rules=tuple(self.rules),
            marks_validated=self.marks_validated,
        )

    def execute(self, step: Step) -> None:
        """Does one step; AssertionError where Linux would refuse it or the device not have the peer."""
        operation = step.operation
        if isinstance(operation, SetForwarding):
            assert self.forwarding is not operation.on
            self.forwarding = operation.on
        elif isinstance(operation, SetFirewall):
            self.firewalls[operation.interface] = ObservedFirewall(
                operation.interface, operation.gateway, guard=operation.guard
            )
        elif isinstance(operation, RemoveFirewall):
            del self.firewalls[operation.interface]
        elif isinstance(operation, (SetMarkValidation, AddRule, RemoveRule)):
            self._egress(operation)
        elif isinstance(operation, AddInterface):
            assert (operation.interface in self.devices) is operation.instead
            backend = self._auto if operation.backend == "auto" else operation.backend
            blank = ObservedInterface(operation.interface, "kernel", up=False, mtu=1500)
            self.devices.pop(operation.interface, None)
            self.devices[operation.interface] = Device(backend, blank)
        elif isinstance(operation, RemoveInterface):
            del self.devices[operation.interface]
        elif isinstance(operation, SetRoute):
            self._route(operation)
        else:
            self._change(self.devices[operation.interface], operation)

    def _egress(self, operation: Union[SetMarkValidation, AddRule, RemoveRule]) -> None:
        if isinstance(operation, SetMarkValidation):
            assert self.marks_validated is not operation.on
            self.marks_validated = operation.on
        elif isinstance(operation, AddRule):
            assert operation.rule not in self.rules, "File exists"
            self.rules.append(operation.rule)
        else:
            self.rules.remove(operation.rule)

    def _route(self, operation: SetRoute) -> None:
        device = self.devices[operation.interface]
        assert device.seen.up, "Network is down"
        if operation.route.source is not None:
            sources = [a.split("/")[0] for d in self.devices.values() for a in d.seen.addresses]
            assert operation.route.source in sources, "Invalid argument: the source is not ours"
        where = place(operation.route)
        if not operation.instead:
            assert all(where not in other.routes for other in self.devices.values()), "File exists"
        for other in self.devices.values():
            other.routes.pop(where, None)
        device.routes[where] = operation.route

    def _change(self, device: Device, operation: object) -> None:
        seen = device.seen
        if isinstance(operation, SetLink):
            mtu = seen.mtu if operation.mtu is None else operation.mtu
            device.seen = replace(seen, mtu=mtu, up=seen.up if operation.up is None else operation.up)
        elif isinstance(operation, SetDevice):
            given = {
                name: value
                for name in ("private_key", "listen_port", "fwmark")
                if (value := getattr(operation, name)) is not None
            }
            device.seen = replace(seen, **given)
        elif isinstance(operation, SetPeer):
            self._set_peer(device, operation)
        elif isinstance(operation, RemoveAllowedIPs):
            for prefix in operation.allowed_ips:
                assert device.owners.pop(prefix) == operation.public_key
        elif isinstance(operation, RemovePeer):
            del device.peers[operation.public_key]
            device.owners = {p: k for p, k in device.owners.items() if k != operation.public_key}
        elif isinstance(operation, AddAddress):
            assert operation.address not in seen.addresses
            device.seen = replace(seen, addresses=(*seen.addresses, operation.address))
        elif isinstance(operation, RemoveAddress):
            rest = tuple(address for address in seen.addresses if address != operation.address)
            assert rest != seen.addresses
            device.seen = replace(seen, addresses=rest)
        else:
            assert isinstance(operation, RemoveRoute)
            assert device.routes.pop(place(operation.route)) == operation.route

    def _set_peer(self, device: Device, operation: SetPeer) -> None:
        assert device.seen.private_key is not None, "peers come after the private key"
        key = operation.public_key
        assert (key not in device.peers) is operation.new
        peer = device.peers.get(key, ObservedPeer(key))
        if operation.preshared_key is not None or operation.no_preshared_key:
            peer = replace(peer, preshared_key=operation.preshared_key)
        if operation.endpoint is not None:
            peer = replace(peer, endpoint=self._resolve(operation.endpoint))
        if operation.persistent_keepalive is not None:
            peer = replace(peer, persistent_keepalive=operation.persistent_keepalive)
        device.peers[key] = peer
        device.owners.update(dict.fromkeys(operation.allowed_ips, key))


def owner(host: SimulatedHost, interface: str, prefix: str) -> Optional[str]:
    """The public key of the peer that has exactly `prefix`."""
    device = host.devices.get(interface)
    return None if device is None else device.owners.get(prefix)


def _device(seen: ObservedInterface) -> Device:
    return Device(
        seen.backend,
        replace(seen, peers=(), routes=()),
        {peer.public_key: replace(peer, allowed_ips=()) for peer in seen.peers},
        {prefix: peer.public_key for peer in seen.peers for prefix in peer.allowed_ips},
        {place(route): route for route in seen.routes},
    )


def _observed(device: Device) -> ObservedInterface:
    peers = tuple(
        replace(peer, allowed_ips=tuple(p for p, owner in device.owners.items() if owner == key))
        for key, peer in device.peers.items()
    )
    backend: Literal["kernel", "userspace"] = "kernel" if device.backend == "kernel" else "userspace"
    return replace(device.seen, backend=backend, peers=peers, routes=tuple(device.routes.values()))
