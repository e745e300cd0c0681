"""For every host: which prefixes go to which peer, and which go into the tunnel at all.

Job: paths and prefixes to AllowedIPs and routes. A transit host knows every prefix by itself. A host at
the edge that has a transit neighbour sends the pools to the most preferred one, and only what takes
another way is more specific: a new spoke of the same hubs changes nothing for it. What a host itself
has behind it never goes into its tunnel. Refuses to know keys. Called by `fleet.topology.compile`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fleet.inventory.model import Address, Inventory
from fleet.topology.graph import Graph
from fleet.topology.paths import Paths
from fleet.topology.prefixes import Prefix, aggregate, carve, of_address, of_network, union


@dataclass(frozen=True)
class Table:
    """One host's: `allowed` by neighbour, and `routes`, which cover the same addresses; both in order."""

    allowed: Mapping[str, Sequence[Prefix]]
    routes: Sequence[Prefix]


class Tables:
    """Computes tables; hosts at the edge with the same neighbours share the work."""

    def __init__(
        self, inventory: Inventory, graph: Graph, addresses: Mapping[str, tuple[Address, ...]]
    ) -> None:
        self._paths = Paths(graph)
        self._pools = [of_network(pool) for pool in inventory.pools]
        self._own = {name: [of_address(address) for address in addresses[name]] for name in inventory.hosts}
        self._behind = {
            name: [of_network(subnet) for subnet in host.subnets] for name, host in inventory.hosts.items()
        }
        self._transit = frozenset(graph.transit)
        entries = sorted(p for name in inventory.hosts for p in self._own[name] + self._behind[name])
        self._nested = any(one.covers(other) for one, other in pairwise(entries))
        self._alone = {name: union(self._own[name] + self._behind[name]) for name in inventory.hosts}
        self._shared: dict[int, dict[Prefix, str]] = {}
        self._unions: dict[frozenset[str], list[Prefix]] = {}

    def of(self, host: str) -> Table:
        """The table of one host."""
        hops = self._paths.first_hops(host)
        default = self._paths.default_hop(host)
        if default is None and not self._nested and all(name == hop for name, hop in hops.items()):
            return self._of_neighbours(host, hops.keys())
        if default is None:
            entries = self._aggregated(hops, None)
        else:
            if id(hops) not in self._shared:
                self._shared[id(hops)] = self._aggregated(hops, default)
            entries = self._shared[id(hops)]
        families = self._families(host)
        allowed: defaultdict[str, list[Prefix]] = defaultdict(list)
        for prefix, peer in sorted(carve(entries, self._holes(host, default)).items()):
            if prefix.bits in families:
                allowed[peer].append(prefix)
        return Table(allowed, union(prefix for prefixes in allowed.values() for prefix in prefixes))

    def _of_neighbours(self, host: str, neighbours: Iterable[str]) -> Table:
        """The same for a host that reaches its neighbours alone, each by itself: a mesh has many."""
        families = self._families(host)
        allowed = {
            name: [prefix for prefix in self._alone[name] if prefix.bits in families] for name in neighbours
        }
        members = frozenset([host, *neighbours])
        if members not in self._unions:
            self._unions[members] = union(prefix for name in members for prefix in self._alone[name])
        routes = carve(dict.fromkeys(self._unions[members], ""), self._alone[host])
        return Table(allowed, sorted(prefix for prefix in routes if prefix.bits in families))

    def _aggregated(self, hops: Mapping[str, str], default: str | None) -> dict[Prefix, str]:
        table = {}
        if default is not None:
            table = dict.fromkeys(self._pools, default)
        for name in self._own:
            if name in hops:
                for prefix in self._behind[name] + self._own[name]:
                    table[prefix] = hops[name]
        return aggregate(table, self._nested or default is not None)

    def _holes(self, host: str, default: str | None) -> list[Prefix]:
        """What must not go into the tunnel of `host`: what it has behind it, and itself.

        Within pools that go to a default hop its own addresses may stay: the kernel keeps those at
        home, and cutting them out would only tear the pools to pieces.
        """
        pools = self._pools if default is not None else []
        own = [prefix for prefix in self._own[host] if not any(pool.covers(prefix) for pool in pools)]
        return self._behind[host] + own

    def _families(self, host: str) -> set[int]:
        """The families, in bits, that a host can send, deliver or pass on."""
        if host in self._transit:
            return {32, 128}
        return {prefix.bits for prefix in self._own[host] + self._behind[host]}
