"""From what should be and what is to the ordered steps between them. Pure; no steps means converged.

Job: say what differs, and in which order to mend it so that no session dies and no prefix is without
an owner on the way: everything is added before anything is removed, AllowedIPs are handed over by
adding them to their new peer (which takes them from the old one), a peer that did not change is not
touched. Refuses to know how a step is done. Called by resident.engine, and by the controller, which
computes the same from a report.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Optional, Union

from agent.bundle import Backend, Bundle, Gateway, Interface, Peer, Route
from agent.report import Action, Change, Observed, ObservedGateway, ObservedInterface, ObservedPeer
from agent.secret import SecretRef


@dataclass(frozen=True)
class AddInterface:
    """Make a WireGuard device; with `instead`, one of another backend or that hangs has to go first."""

    interface: str
    backend: Backend
    instead: bool = False


@dataclass(frozen=True)
class RemoveInterface:
    """Remove a WireGuard device with everything on it."""

    interface: str


@dataclass(frozen=True)
class SetLink:
    """Set what is not None; `mtu` in bytes."""

    interface: str
    mtu: Optional[int] = None
    up: Optional[bool] = None


@dataclass(frozen=True)
class SetDevice:
    """Set what is not None; a `fwmark` of 0 is none."""

    interface: str
    private_key: Optional[SecretRef] = None
    listen_port: Optional[int] = None
    fwmark: Optional[int] = None


@dataclass(frozen=True)
class SetPeer:
    """Set what is not None, and add `allowed_ips` to those that the peer has.

    `new`: make the peer; otherwise it must exist. `no_preshared_key` takes the pre-shared key away.
    """

    interface: str
    name: str
    public_key: str
    new: bool = False
    preshared_key: Optional[SecretRef] = None
    no_preshared_key: bool = False
    endpoint: Optional[str] = None
    persistent_keepalive: Optional[int] = None
    allowed_ips: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoveAllowedIPs:
    """Take prefixes that nobody should have any more from a peer, leaving its others alone."""

    interface: str
    name: str
    public_key: str
    allowed_ips: tuple[str, ...]


@dataclass(frozen=True)
class RemovePeer:
    """Remove a peer, its session and its AllowedIPs."""

    interface: str
    name: str
    public_key: str


@dataclass(frozen=True)
class AddAddress:
    """`address` is `a.b.c.d/len`."""

    interface: str
    address: str


@dataclass(frozen=True)
class RemoveAddress:
    """`address` is `a.b.c.d/len`."""

    interface: str
    address: str


@dataclass(frozen=True)
class SetRoute:
    """Route through the interface. `instead`: a route of ours for this destination is to be replaced."""

    interface: str
    route: Route
    instead: bool = False


@dataclass(frozen=True)
class RemoveRoute:
    """Remove a route of ours."""

    interface: str
    route: Route


@dataclass(frozen=True)
class SetForwarding:
    """IP forwarding of both families; off means: as it was before we switched it on."""

    on: bool


@dataclass(frozen=True)
class SetGateway:
    """Make our firewall table of the interface this, whatever is in it; nothing of others is touched."""

    interface: str
    gateway: Gateway


@dataclass(frozen=True)
class RemoveGateway:
    """Remove our firewall table of the interface."""

    interface: str


Operation = Union[
    AddInterface,
    RemoveInterface,
    SetLink,
    SetDevice,
    SetPeer,
    RemoveAllowedIPs,
    RemovePeer,
    AddAddress,
    RemoveAddress,
    SetRoute,
    RemoveRoute,
    SetForwarding,
    SetGateway,
    RemoveGateway,
]


@dataclass(frozen=True)
class Step:
    """One step: the difference as people see it, and what to do about it."""

    change: Change
    operation: Operation


def converge(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> tuple[Step, ...]:
    """The steps from `observed` to `bundle`, in the order in which they are safe.

    `previous` is the bundle that the host was last brought to. It tells an endpoint that the operator
    changed from one that roamed: an endpoint differs where the device has none, or where it is not what
    `previous` says for that peer. Forwarding is switched off where `previous` wanted it only.
    Interfaces that were observed and are not in the bundle are removed last. Firewall tables come before
    everything and go after it: no packet is passed on without one that had it or will have it, for a
    connection that begins without masquerade never gets it.
    """
    present = {interface.name: interface for interface in observed.interfaces}
    before = {interface.name: interface for interface in (previous.interfaces if previous else ())}
    routed = {route.destination for interface in observed.interfaces for route in interface.routes}
    adding: list[Step] = []
    removing: list[Step] = []
    for wanted in sorted(bundle.interfaces, key=lambda wanted: _is_misfit(wanted, present.get(wanted.name))):
        actual = present.get(wanted.name)
        if actual is None or _is_misfit(wanted, actual):
            adding.append(_make_interface(wanted, actual))
            actual = ObservedInterface(wanted.name, "kernel", up=False, mtu=0)
        adding += _device_steps(wanted, actual)
        adding += _added_peers(wanted, actual, before.get(wanted.name))
        adding += _added_addresses(wanted, actual)
        if not actual.up:
            adding.append(
                _step("interface", f"{wanted.name} link", "up", "down", SetLink(wanted.name, up=True))
            )
        adding += _added_routes(wanted, actual, routed)
        removing += _removed_addresses(wanted, actual)
        removing += _removed_peers(wanted, actual, before.get(wanted.name))
    rerouted = {step.operation.route.destination for step in adding if isinstance(step.operation, SetRoute)}
    stale = [step for wanted in bundle.interfaces for step in _removed_routes(wanted, present, rerouted)]
    named = {interface.name for interface in bundle.interfaces}
    gone = [_remove_interface(interface) for interface in observed.interfaces if interface.name not in named]
    opened, closed = _set_gateways(bundle, observed), _removed_gateways(bundle, observed)
    forwarding = _forwarding(bundle, observed, previous)
    return (*opened, *adding, *forwarding, *stale, *removing, *gone, *closed)


def _is_misfit(wanted: Interface, actual: Optional[ObservedInterface]) -> bool:
    """Whether a device has to go before the wanted one can be made: of the other kind, or one that hangs."""
    return actual is not None and (wanted.backend not in ("auto", actual.backend) or not actual.answers)


def _make_interface(wanted: Interface, actual: Optional[ObservedInterface]) -> Step:
    operation = AddInterface(wanted.name, wanted.backend, instead=actual is not None)
    found = None if actual is None else actual.backend if actual.answers else f"{actual.backend}, hangs"
    return _step("interface", wanted.name, wanted.backend, found, operation)


def _remove_interface(actual: ObservedInterface) -> Step:
    return _step("interface", actual.name, None, actual.backend, RemoveInterface(actual.name))


def _device_steps(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    name = wanted.name
    if wanted.private_key != actual.private_key:
        expected, found = _named(wanted.private_key), _named(actual.private_key)
        key = SetDevice(name, private_key=wanted.private_key)
        yield _step("device", f"{name} private_key", expected, found, key)
    if wanted.listen_port not in (0, actual.listen_port):
        port = SetDevice(name, listen_port=wanted.listen_port)
        yield _step("device", f"{name} listen_port", wanted.listen_port, actual.listen_port or None, port)
    if wanted.fwmark != actual.fwmark:
        mark = SetDevice(name, fwmark=wanted.fwmark)
        yield _change("device", f"{name} fwmark", "change", wanted.fwmark, actual.fwmark, mark)
    if wanted.mtu != actual.mtu:
        mtu = SetLink(name, mtu=wanted.mtu)
        yield _step("interface", f"{name} mtu", wanted.mtu, actual.mtu or None, mtu)


def _added_peers(wanted: Interface, actual: ObservedInterface, before: Optional[Interface]) -> Iterator[Step]:
    present = {peer.public_key: peer for peer in actual.peers}
    endpoints = {peer.public_key: peer.endpoint for peer in (before.peers if before else ())}
    for peer in wanted.peers:
        seen = present.get(peer.public_key)
        if seen is None:
            yield _new_peer(wanted.name, peer)
        else:
            yield from _changed_peer(wanted.name, peer, seen, endpoints)


def _new_peer(interface: str, peer: Peer) -> Step:
    operation = SetPeer(
        interface,
        peer.name,
        peer.public_key,
        new=True,
        preshared_key=peer.preshared_key,
        endpoint=peer.endpoint,
        persistent_keepalive=peer.persistent_keepalive,
        allowed_ips=peer.allowed_ips,
    )
    return _step("peer", f"{interface} peer {peer.name}", list(peer.allowed_ips), None, operation)


def _changed_peer(
    interface: str, peer: Peer, seen: ObservedPeer, endpoints: dict[str, Optional[str]]
) -> Iterator[Step]:
    item = f"{interface} peer {peer.name}"

    def change(field: str, expected: Any, actual: Any, **what: Any) -> Step:
        operation = SetPeer(interface, peer.name, peer.public_key, **what)
        return _change("peer", f"{item} {field}", "change", expected, actual, operation)

    if peer.preshared_key != seen.preshared_key:
        expected, found = _named(peer.preshared_key), _named(seen.preshared_key)
        no_key = peer.preshared_key is None
        yield change(
            "preshared_key", expected, found, preshared_key=peer.preshared_key, no_preshared_key=no_key
        )
    if _endpoint_differs(peer, seen, endpoints):
        yield change("endpoint", peer.endpoint, seen.endpoint, endpoint=peer.endpoint)
    if peer.persistent_keepalive != seen.persistent_keepalive:
        keepalive = peer.persistent_keepalive
        yield change(
            "persistent_keepalive", keepalive, seen.persistent_keepalive, persistent_keepalive=keepalive
        )
    missing = tuple(prefix for prefix in peer.allowed_ips if prefix not in seen.allowed_ips)
    if missing:
        operation = SetPeer(interface, peer.name, peer.public_key, allowed_ips=missing)
        yield _step("peer", f"{item} allowed_ips", list(missing), None, operation)


def _endpoint_differs(peer: Peer, seen: ObservedPeer, endpoints: dict[str, Optional[str]]) -> bool:
    """Whether the operator wants another endpoint; one that a peer took by itself is none of our business."""
    if peer.endpoint is None or peer.endpoint == seen.endpoint:
        return False
    return seen.endpoint is None or endpoints.get(peer.public_key) != peer.endpoint


def _removed_peers(
    wanted: Interface, actual: ObservedInterface, before: Optional[Interface]
) -> Iterator[Step]:
    """Peers that nobody wants, and before them prefixes that nobody wants from peers that stay."""
    names = {peer.public_key: peer.name for peer in (before.peers if before else ())}
    names.update((peer.public_key, peer.name) for peer in wanted.peers)
    staying = {peer.public_key for peer in wanted.peers}
    owned = {prefix for peer in wanted.peers for prefix in peer.allowed_ips}
    for seen in actual.peers:
        extra = tuple(prefix for prefix in seen.allowed_ips if prefix not in owned)
        if seen.public_key in staying and extra:
            name = names[seen.public_key]
            drop = RemoveAllowedIPs(wanted.name, name, seen.public_key, extra)
            yield _step("peer", f"{wanted.name} peer {name} allowed_ips", None, list(extra), drop)
    for seen in actual.peers:
        if seen.public_key not in staying:
            name = names.get(seen.public_key, seen.public_key)
            remove = RemovePeer(wanted.name, name, seen.public_key)
            yield _step("peer", f"{wanted.name} peer {name}", None, list(seen.allowed_ips), remove)


def _added_addresses(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    present = _canonical(actual.addresses)
    for address in _canonical(wanted.addresses):
        if address not in present:
            operation = AddAddress(wanted.name, address)
            yield _step("address", f"{wanted.name} {address}", address, None, operation)


def _removed_addresses(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    """Link-local addresses that nobody wants are the kernel's own."""
    keep = _canonical(wanted.addresses)
    for address in _canonical(actual.addresses):
        if address not in keep and not ipaddress.ip_interface(address).is_link_local:
            operation = RemoveAddress(wanted.name, address)
            yield _step("address", f"{wanted.name} {address}", None, address, operation)


def _canonical(addresses: Iterable[str]) -> dict[str, None]:
    """The addresses, each written in one way, in their order."""
    return dict.fromkeys(str(ipaddress.ip_interface(address)) for address in addresses)


def _added_routes(wanted: Interface, actual: ObservedInterface, routed: set[str]) -> Iterator[Step]:
    present = {route.destination: route for route in actual.routes}
    for route in wanted.routes:
        if present.get(route.destination) == route:
            continue
        item = f"{wanted.name} {route.destination}"
        operation = SetRoute(wanted.name, route, instead=route.destination in routed)
        if operation.instead:
            here = present.get(route.destination)
            where = _described(here) if here else "another interface of the fleet"
            yield _change("route", item, "change", _described(route), where, operation)
        else:
            yield _step("route", item, _described(route), None, operation)


def _removed_routes(
    wanted: Interface, present: dict[str, ObservedInterface], rerouted: set[str]
) -> Iterator[Step]:
    """A destination that was routed anew is gone from where it was."""
    actual = present.get(wanted.name)
    if actual is None or _is_misfit(wanted, actual):
        return
    keep = {route.destination for route in wanted.routes} | rerouted
    for route in actual.routes:
        if route.destination not in keep:
            operation = RemoveRoute(wanted.name, route)
            item = f"{wanted.name} {route.destination}"
            yield _step("route", item, None, _described(route), operation)


def _described(route: Route) -> str:
    return route.destination if route.source is None else f"{route.destination} from {route.source}"


def _forwarding(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> Iterator[Step]:
    if bundle.forwarding and not observed.forwarding:
        yield _change("forwarding", "ip forwarding", "change", True, False, SetForwarding(True))
    elif observed.forwarding and not bundle.forwarding and previous is not None and previous.forwarding:
        yield _change("forwarding", "ip forwarding", "remove", False, True, SetForwarding(False))


def _set_gateways(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    present = {seen.interface: seen for seen in observed.gateways}
    for interface in bundle.interfaces:
        wanted, seen = interface.gateway, present.get(interface.name)
        if wanted is None or seen == ObservedGateway(interface.name, wanted):
            continue
        found = None if seen is None else _found(seen)
        yield _step("firewall", interface.name, _deeds(wanted), found, SetGateway(interface.name, wanted))


def _removed_gateways(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    wanted = {interface.name for interface in bundle.interfaces if interface.gateway is not None}
    for seen in observed.gateways:
        if seen.interface not in wanted:
            yield _step("firewall", seen.interface, None, _found(seen), RemoveGateway(seen.interface))


def _found(seen: ObservedGateway) -> list[str]:
    deeds = [] if seen.gateway is None else _deeds(seen.gateway)
    return [*deeds, *([] if seen.altered is None else [f"but {seen.altered}"])]


def _deeds(gateway: Gateway) -> list[str]:
    deeds = ["MSS clamp"] if gateway.clamp_mss else []
    if gateway.masquerade:
        deeds.append(f"masquerade to {' '.join(gateway.masquerade)} from {' '.join(gateway.sources)}")
    return deeds


def _named(ref: Optional[SecretRef]) -> Optional[str]:
    return None if ref is None else f"{ref.id} generation {ref.generation}"


def _step(layer: str, item: str, expected: Any, actual: Any, operation: Operation) -> Step:
    """A step whose action follows from what there is: None stands for nothing."""
    action: Action = "add" if actual is None else "remove" if expected is None else "change"
    return _change(layer, item, action, expected, actual, operation)


def _change(layer: str, item: str, action: Action, expected: Any, actual: Any, operation: Operation) -> Step:
    return Step(Change(layer, item, action, expected, actual), operation)
