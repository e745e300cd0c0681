"""One path for every pair of hosts: the first hop towards everyone.

AllowedIPs route what is sent and filter what is received, so the way back has to be the way out, and a
host in the middle has to agree with both ends. That holds exactly if every part of a chosen path is
itself the chosen path between its ends, which unique shortest paths by additive weights guarantee:

- Fewest links first. Inner hosts are transit hosts.
- Then the hosts inside decide: the transit host of rank r (in the inventory's order) weighs 2**r, so
  among paths of one length the one wins whose least preferred inner host is preferred most. Different
  sets of inner hosts weigh differently, and two shortest paths with the same inner hosts are the same
  path (a host's place in both is its distance from the start): no two paths ever tie.

Spokes of the same hubs thereby agree on one hub, and a host at the edge never bends a path between
others. Refuses to know prefixes. Called by `fleet.topology.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.topology.graph import Graph


class Paths:
    """First hops on the chosen paths of a graph; answers are remembered, not to be changed."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._weight = {name: 1 << rank for rank, name in enumerate(graph.transit)}
        self._known: dict[frozenset[str] | str, Mapping[str, str]] = {}

    def first_hops(self, host: str) -> Mapping[str, str]:
        """Every host that `host` reaches, with the neighbour that its packets go to first.

        A host at the edge may find itself in it, by way of a neighbour: hosts at the edge that have
        the same neighbours share one answer.
        """
        neighbours = self._graph.links[host]
        key = host if host in self._weight else neighbours
        if key not in self._known:
            self._known[key] = self._search(neighbours, [host] if host in self._weight else [])
        return self._known[key]

    def default_hop(self, host: str) -> str | None:
        """The neighbour to whom a host at the edge may send what it knows nothing better for.

        None for transit hosts, which would pass such packets around in circles, and where no
        neighbour is one.
        """
        if host in self._weight:
            return None
        return min(self._graph.links[host] & self._weight.keys(), key=self._weight.__getitem__, default=None)

    def _search(self, neighbours: Iterable[str], start: Iterable[str]) -> Mapping[str, str]:
        """Breadth first, each layer visited best first: whoever finds a host is its best predecessor."""
        hops = {name: name for name in neighbours}
        seen = {*hops, *start}
        cost = {name: self._weight[name] for name in hops if name in self._weight}
        layer = sorted(cost, key=cost.__getitem__)
        while layer:
            found = []
            for inner in layer:
                for name in self._graph.links[inner] - seen:
                    hops[name] = hops[inner]
                    seen.add(name)
                    if name in self._weight:
                        cost[name] = cost[inner] + self._weight[name]
                        found.append(name)
            layer = sorted(found, key=cost.__getitem__)
        return hops
