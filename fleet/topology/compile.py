"""An inventory and its hosts' identities to a bundle for each host; pure.

Job: put links, tables and settings together. Keys are named, never seen. Called by `fleet.desired`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network

from agent.bundle import EVERYTHING, VERSION, Bundle, Gateway, Interface, Peer, Route
from fleet.inventory.model import Host, Inventory
from fleet.keys.refs import pair_id, preshared_key_ref, private_key_ref
from fleet.topology.graph import build
from fleet.topology.identity import Identity
from fleet.topology.prefixes import Prefix, of_network, text, union
from fleet.topology.tables import Table, Tables

EGRESS_MARK = 0x2077
"""Of the datagrams of full tunnels, and the number of their table.

None of its bits is among those that others on a host are known to test or set alone: kube-proxy (0x4000,
0x8000), Tailscale (0xff0000), Calico (0xffff0000), Cilium (0x0f00), Amazon's VPC CNI (0x80).
"""
KEEPALIVE_SECONDS = 25
"""Shorter than the UDP timeouts of NATs that people meet; the value that wg(8) recommends."""


def compile_bundles(
    inventory: Inventory,
    identities: Mapping[str, Identity],
    fleet_id: str,
    pair_generation: Callable[[str], int],
) -> dict[str, Bundle]:
    """The bundle of every host, by name in the inventory's order; every revision is 1.

    `identities` has one for every host, by name; `pair_generation` is asked with `keys.refs.pair_id`s.
    """
    graph = build(inventory)
    tables = Tables(inventory, graph, {name: identities[name].addresses for name in inventory.hosts})
    transit = frozenset(graph.transit)
    ways_out = {host.egress for host in inventory.hosts.values()}
    bundles = {}
    for name, host in inventory.hosts.items():
        table = tables.of(name)
        peers = tuple(
            _peer(inventory, identities, name, other, table.allowed.get(other, ()), pair_generation)
            for other in sorted(graph.links[name])
        )
        forwarding = name in transit | ways_out or bool(host.subnets) or bool(host.masquerade)
        gateway = _gateway(inventory, host)
        bundles[name] = Bundle(
            version=VERSION,
            fleet=fleet_id,
            fleet_name=inventory.name,
            host=name,
            revision=1,
            interfaces=(_interface(host, identities[name], peers, table, gateway),),
            forwarding=forwarding,
            self_heal=host.self_heal,
        )
    return bundles


def _peer(
    inventory: Inventory,
    identities: Mapping[str, Identity],
    host: str,
    other: str,
    allowed: Sequence[Prefix],
    pair_generation: Callable[[str], int],
) -> Peer:
    pair = pair_id(identities[host].id, identities[other].id)
    return Peer(
        name=other,
        public_key=identities[other].public_key,
        preshared_key=preshared_key_ref(pair, pair_generation(pair)),
        endpoint=inventory.hosts[other].endpoint,
        allowed_ips=(*map(text, allowed), *_everything(inventory.hosts[host], identities[host], other)),
        persistent_keepalive=KEEPALIVE_SECONDS if inventory.hosts[host].endpoint is None else 0,
        addresses=tuple(map(str, identities[other].addresses)),
    )


def _everything(host: Host, identity: Identity, peer: str) -> list[str]:
    """What goes to a peer besides what the fleet has: all that the host has an address to send from."""
    if peer != host.egress:
        return []
    versions = {address.version for address in identity.addresses}
    return [everything for everything, version in zip(EVERYTHING, (4, 6), strict=True) if version in versions]


def _gateway(inventory: Inventory, host: Host) -> Gateway | None:
    """What the fleet sends from is its pools, and what lies behind its other hosts."""
    clamp = bool(host.masquerade) if host.clamp_mss is None else host.clamp_mss
    if not (clamp or host.masquerade):
        return None
    sources: list[Prefix] = []
    if host.masquerade:
        others = [other for other in inventory.hosts.values() if other.name != host.name]
        networks = [*inventory.pools, *(subnet for other in others for subnet in other.subnets)]
        sources = union(map(of_network, networks))
    return Gateway(clamp, host.masquerade, tuple(map(text, sources)))


def _interface(
    host: Host, identity: Identity, peers: tuple[Peer, ...], table: Table, gateway: Gateway | None
) -> Interface:
    source: dict[int, str] = {}
    for address in identity.addresses:
        source.setdefault(address.max_prefixlen, str(address))
    mark = EGRESS_MARK if host.egress and host.netns is None else 0  # its own datagrams leave elsewhere
    routes = [Route(text(prefix), source.get(prefix.bits)) for prefix in table.routes]
    for everything in _everything(host, identity, host.egress) if host.egress else ():
        bits = ip_network(everything).max_prefixlen
        routes.append(Route(everything, source[bits], table=mark or None))
    return Interface(
        name=host.interface,
        backend=host.backend,
        private_key=private_key_ref(identity.id, identity.generation),
        public_key=identity.public_key,
        listen_port=host.listen_port,
        mtu=host.mtu,
        addresses=tuple(f"{address}/{address.max_prefixlen}" for address in identity.addresses),
        peers=peers,
        routes=tuple(routes),
        fwmark=mark,
        gateway=gateway,
        netns=host.netns,
    )
