"""A full tunnel, as it follows from an interface of a bundle that has a route for everything. Pure.

Such a route cannot lie in the main table: the tunnel's own datagrams would take it. It lies in a table of its
own, which is asked for every packet without the mark that the device gives its datagrams, after the main
table's routes except for its default ones. That much is wg-quick's (wg-quick(8), ip-rule(8)); the guard does
what wg-quick's does and keeps the host's other addresses reachable, see `agent.host.guard`.

Job: say which rules and which guard an interface needs. Refuses to know how they are made. Called by converge
and host.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal, Optional

from agent.bundle import MAIN_TABLE, Bundle, Interface, Peer

Version = Literal[4, 6]

SPECIFIC_PRIORITY = 32764
TUNNEL_PRIORITY = 32765
"""Right before the main table's own rule, 32766: whatever an operator asks for comes first."""


@dataclass(frozen=True)
class Rule:
    """A rule of routing policy of ours: packets of IP `version` look into `table`.

    All do where `but_mark` is None, else those without this mark. `specific`: default routes do not count.
    """

    version: Version
    priority: int
    table: int
    but_mark: Optional[int] = None
    specific: bool = False

    def __str__(self) -> str:
        """As ip-rule(8) has it."""
        which = f"lookup {'main' if self.table == MAIN_TABLE else self.table}"
        which = which if self.but_mark is None else f"not fwmark {self.but_mark} {which}"
        return f"IPv{self.version} {which}" + (" suppress_prefixlength 0" if self.specific else "")


@dataclass(frozen=True)
class Guard:
    """What a full tunnel needs of the firewall; `addresses` are the interface's own, without length.

    What carries `mark` is not led into the tunnel.
    """

    mark: int
    addresses: tuple[str, ...]


def versions(interface: Interface) -> tuple[Version, ...]:
    """The IP versions of which everything goes into the interface; none for one in another namespace."""
    found = {route.destination for route in interface.routes if route.table is not None}
    pairs: tuple[tuple[str, Version], ...] = (("0.0.0.0/0", 4), ("::/0", 6))
    return tuple(version for destination, version in pairs if destination in found)


def guard(interface: Interface) -> Optional[Guard]:
    """The guard of a full tunnel, None where the interface is none."""
    if not (found := versions(interface)):
        return None
    addresses = [ipaddress.ip_interface(address).ip for address in interface.addresses]
    return Guard(interface.fwmark, tuple(str(ip) for ip in addresses if ip.version in found))


def rules(interface: Interface) -> tuple[Rule, ...]:
    """The rules of a full tunnel, in the order in which they are added."""
    made: list[Rule] = []
    for version in versions(interface):
        made.append(Rule(version, SPECIFIC_PRIORITY, MAIN_TABLE, specific=True))
        made.append(Rule(version, TUNNEL_PRIORITY, interface.fwmark, but_mark=interface.fwmark))
    return tuple(made)


def way_out(interface: Interface) -> Optional[Peer]:
    """The peer that everything goes to, None where nobody gets it."""
    destinations = {route.destination for route in interface.routes if route.is_everything}
    return next((peer for peer in interface.peers if destinations & set(peer.allowed_ips)), None)


def full_tunnels(bundle: Optional[Bundle]) -> tuple[Interface, ...]:
    """The interfaces of a bundle that are full tunnels."""
    return tuple(one for one in (bundle.interfaces if bundle else ()) if versions(one))
