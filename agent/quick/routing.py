"""Addresses, routes and rules as `ip` makes them for wg-quick, and ways through them, over rtnetlink.

Job: look and change one thing at a time. Refuses to know what it is for, and to touch rules of a fleet.
Called by facts and hands. What is made here carries no mark of ours: wg-quick takes it for its own, and so do
we what wg-quick made.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import Any, Optional

from pyroute2.netlink.exceptions import NetlinkError

from agent.bundle import DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE
from agent.host.network import PROTOCOL, address_of, dump, netlink
from agent.host.rules import FAMILIES, Lookup, leads_unmarked, listed
from agent.quick.guard import Family
from agent.quick.plan import Rules, Way

# include/uapi/linux/rtnetlink.h
_OF_BOOT = 3
_MADE_UP = 0x800  # include/uapi/linux/if_addr.h, IFA_F_STABLE_PRIVACY
_EVERYWHERE, _ON_LINK = 0, 253

_TABLE_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")
_TABLES = {"default": DEFAULT_TABLE, "main": MAIN_TABLE, "local": LOCAL_TABLE}
_TABLE_FOLDERS = (Path("/etc/iproute2"), Path("/usr/share/iproute2"), Path("/usr/lib/iproute2"))


def tunnel_rule(mark: int) -> Lookup:
    """What is not marked so looks into the table of this number."""
    return Lookup(mark, but_mark=mark)


MAIN_RULE = Lookup(MAIN_TABLE, specific=True)


class Routing:
    """The network namespace that we run in. All methods raise OSError with an errno."""

    def way(self, address: str) -> Way:
        """The way to an address; one that knows nothing where there is none."""
        with netlink() as ip:
            try:
                (found,) = ip.route("get", dst=address)
            except NetlinkError:
                return Way()
            return _way(ip, found)

    def default_way(self) -> Way:
        """The first default route of the main table (IPv4)."""
        with netlink() as ip:
            routes = dump(partial(ip.get_routes, family=FAMILIES[4], table=MAIN_TABLE))
            found = [route for route in routes if not route["dst_len"] and _table(route) == MAIN_TABLE]
            return _way(ip, found[0]) if found else Way()

    def tables(self) -> frozenset[int]:
        """Those that have routes, of either family."""
        with netlink() as ip:
            routes = [dump(partial(ip.get_routes, family=family)) for family in FAMILIES.values()]
            return frozenset(_table(route) for of_family in routes for route in of_family)

    def rules(self, family: Family, mark: int) -> Rules:
        """How often there are those of a full tunnel with this mark."""
        with netlink() as ip:
            found = [rule for rule, _ in _rules(ip, family)]
        return Rules(found.count(tunnel_rule(mark)), found.count(MAIN_RULE))

    def tunnels(self, family: Family) -> int:
        """How many rules lead what has not their mark elsewhere, those of fleets included."""
        with netlink() as ip:
            found = dump(partial(ip.get_rules, family=FAMILIES[family]))
            return sum(map(leads_unmarked, found))

    def addresses(self, name: str) -> tuple[str, ...]:
        """`IP/LENGTH` of both families, without those that the kernel makes up by itself for a TUN device."""
        with netlink() as ip:
            found = dump(partial(ip.get_addr, index=_index(name)))
        lasting = [one for one in found if not one.get_attr("IFA_FLAGS", one["flags"]) & _MADE_UP]
        return tuple(map(address_of, lasting))

    def add_address(self, name: str, prefix: str) -> None:
        """EEXIST where it is there already."""
        ip_text, _, length = prefix.partition("/")
        with netlink() as ip:
            ip.addr("add", index=_index(name), address=ip_text, prefixlen=int(length))

    def add_route(self, name: str, destination: str, table: Optional[int] = None) -> None:
        """EEXIST where there is one for this destination."""
        with netlink() as ip:
            ip.route(
                "add",
                dst=destination,
                oif=_index(name),
                table=MAIN_TABLE if table is None else table,
                proto=_OF_BOOT,
                scope=_EVERYWHERE if ":" in destination else _ON_LINK,
            )

    def add_rule(self, family: Family, rule: Lookup) -> None:
        """Puts a rule where the kernel puts one whose place nobody says.

        Source: net/core/fib_rules.c, fib_default_rule_pref: before the second one that there is.
        """
        with netlink() as ip:
            before = dump(partial(ip.get_rules, family=FAMILIES[family]))[1:2]
            priority = before[0].get_attr("FRA_PRIORITY", 0) if before else 0
            ip.rule("add", priority=max(0, priority - 1), **rule.words(family))

    def remove_rule(self, family: Family, rule: Lookup) -> None:
        """Removes the first such rule that is no fleet's. ENOENT where there is none."""
        with netlink() as ip:
            for found, priority in _rules(ip, family):
                if found == rule:
                    ip.rule("del", priority=priority, **rule.words(family))
                    return
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def table_number(table: str) -> int:
    """The number of a routing table, by the names that iproute2 knows. KeyError for one that it does not."""
    if table[0].isdigit():
        return int(table, 0)
    known = dict(_TABLES)
    for folder in _TABLE_FOLDERS:
        for file in (folder / "rt_tables", *sorted(folder.glob("rt_tables.d/*.conf"))):
            try:
                lines = file.read_text(errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                number, *names = line.partition("#")[0].split()[:2] or [""]
                if names and _TABLE_NUMBER.fullmatch(number):
                    known.setdefault(names[0], int(number, 16 if number[1:2] in ("x", "X") else 10))
    return known[table]


def _rules(ip: Any, family: Family) -> list[tuple[Lookup, int]]:
    """Rules with their priorities; without those that are a fleet's, or ask for more than ours do."""
    found = map(listed, dump(partial(ip.get_rules, family=FAMILIES[family])))
    return [(one.lookup, one.priority) for one in found if one is not None and one.protocol != PROTOCOL]


def _way(ip: Any, route: Any) -> Way:
    metrics = route.get_attr("RTA_METRICS")
    said = None if metrics is None else metrics.get_attr("RTAX_MTU")
    index = route.get_attr("RTA_OIF")
    if index is None:
        return Way(said)
    (link,) = ip.link("get", index=index)
    return Way(said, link.get_attr("IFLA_MTU"))


def _table(route: Any) -> int:
    return int(route.get_attr("RTA_TABLE", route["table"]))


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error
