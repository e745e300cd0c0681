"""From a file and a few facts to the ordered steps of `up` and `down`. Pure.

Job: `make`, then `connect` with the facts as they are by then, bring an interface up; `part`, then `remove`,
take it down; `abandon` undoes an `up` that failed. Refuses to know how a step is done, and to look by itself.

Source: wg-quick(8), and the order of what wireguard-tools 1.0.20210914 calls. What is not as there: of
the rules for the main table, only as many go as this tunnel has rules of its own, the others are other
tunnels'; its own are those that match its mark and its table, not all that lead to a table of that number; a
mark that is the number of the kernel's own tables is refused; an interface that `up` did not make is not
removed when `up` fails; src_valid_mark is put back with the last tunnel that needs it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Optional

from agent.bundle import KERNEL_TABLES
from agent.operations import AddInterface, RemoveInterface, SetLink
from agent.quick import guard
from agent.quick.conf import AUTO, OFF, QuickConf
from agent.quick.guard import Family, Tool
from agent.quick.steps import (
    AddAddress,
    AddGuard,
    AddMainRule,
    AddRoute,
    AddTunnelRule,
    Configure,
    IgnoreMark,
    RemoveGuardRules,
    RemoveGuardTables,
    RemoveMainRule,
    RemoveTunnelRule,
    RunHook,
    SaveFile,
    SetDns,
    SetMark,
    Step,
    UnsetDns,
    ValidateMark,
)
from agent.wg import text

_FIRST_TABLE = 51820
_USUAL_MTU = 1500
_OVERHEAD = 80  # IPv6 40, UDP 8, WireGuard 32
_RECORD = re.compile(r"([A-Za-z0-9-]+)\*")


class PlanError(ValueError):
    """Why a file cannot be followed on this host; for people."""


@dataclass(frozen=True)
class Way:
    """How a packet leaves the host: the MTU that its route has, and that of the link it leaves by."""

    route_mtu: Optional[int] = None
    link_mtu: Optional[int] = None

    @property
    def mtu(self) -> int:
        """0 where nothing is known."""
        return self.route_mtu or self.link_mtu or 0


@dataclass(frozen=True)
class UpFacts:
    """The host, once the device has its peers.

    `ways` are those to the endpoints of peers, `default` the first default route (IPv4); `tables` have
    routes, of either family; `resolvconf_order` is what /etc/resolvconf/interface-order says, if it is there.
    """

    ways: tuple[Way, ...] = ()
    default: Way = Way()
    tables: frozenset[int] = frozenset()
    tool: Tool = "nft"
    resolvconf: bool = True
    resolvconf_order: str = ""


@dataclass(frozen=True)
class Rules:
    """How often a family has this tunnel's rule (not its mark, its table), and that for the main table."""

    tunnel: int = 0
    main: int = 0


@dataclass(frozen=True)
class DownFacts:
    """What there is to undo. `prefixes` are the AllowedIPs of the device as it is now, as is `mark`.

    `rules4` and `rules6` count those of `mark`; `tables` are nftables', each `FAMILY NAME`; `saved4` and
    `saved6` are what iptables-save and ip6tables-save print, empty where they are not installed. `validated`:
    src_valid_mark was off before us; `tunnels4` counts the rules (IPv4) that look for any mark as ours does.
    """

    mark: int = 0
    prefixes: tuple[str, ...] = ()
    rules4: Rules = Rules()
    rules6: Rules = Rules()
    tables: tuple[str, ...] = ()
    saved4: str = field(default="", repr=False)
    saved6: str = field(default="", repr=False)
    resolvconf_order: str = ""
    validated: bool = False
    tunnels4: int = 0


def make(conf: QuickConf, stripped: str) -> tuple[Step, ...]:
    """The first half of `up`: from nothing to a device with peers and addresses, still down.

    `stripped` is what the file has for wg (`Parts.stripped`). Raises PlanError.
    """
    mark = conf.device.fwmark or 0
    if mark in KERNEL_TABLES and conf.table == AUTO and any(_is_default(p) for p in prefixes(conf)):
        raise PlanError(
            f"{conf.interface}: FwMark {mark} is one of the kernel's own routing tables: take another number"
        )
    return (
        *map(RunHook, conf.pre_up),
        AddInterface(conf.interface, "auto"),
        Configure(conf.interface, conf.device, f"{stripped}\n"),
        *(AddAddress(conf.interface, address) for address in conf.addresses),
    )


def connect(conf: QuickConf, facts: UpFacts) -> tuple[Step, ...]:
    """The second half of `up`: link, DNS, routes, hooks. Raises PlanError."""
    return (
        SetLink(conf.interface, mtu=_mtu(conf, facts), up=True),
        *_dns(conf, facts),
        *_routes(conf, facts),
        *map(RunHook, conf.post_up),
    )


def part(conf: QuickConf) -> tuple[Step, ...]:
    """The first half of `down`, while the device is still there."""
    save = (SaveFile(conf.interface),) if conf.save else ()
    return (*map(RunHook, conf.pre_down), *save)


def remove(conf: QuickConf, facts: DownFacts) -> tuple[Step, ...]:
    """The second half of `down`."""
    dns = (UnsetDns(record(conf, facts.resolvconf_order)),) if conf.dns_servers else ()
    return (
        *_without_rules(conf, facts),
        RemoveInterface(conf.interface),
        *dns,
        *_without_guard(conf, facts),
        *_without_mark(conf, facts),
        *map(RunHook, conf.post_down),
    )


def abandon(conf: QuickConf, done: Iterable[Step], facts: DownFacts) -> tuple[Step, ...]:
    """What undoes an `up` of which `done` was done; no hook is run."""
    steps: list[Step] = []
    for step in done:
        if isinstance(step, SetDns):
            steps.append(UnsetDns(step.record))
    if any(isinstance(step, AddGuard) for step in done):
        steps += _without_guard(conf, facts)
    if any(isinstance(step, AddInterface) for step in done):
        steps += [*_without_rules(conf, facts), RemoveInterface(conf.interface), *_without_mark(conf, facts)]
    return tuple(steps)


def prefixes(conf: QuickConf) -> tuple[str, ...]:
    """The AllowedIPs as the device has them, without the bits beyond their masks, the longest first."""
    said = (prefix for peer in conf.device.peers for prefix in peer.allowed_ips)
    networks = {str(ipaddress.ip_network(prefix, strict=False)) for prefix in said}
    # the last resort of sort -nr is the whole line
    by_length = sorted(map(text.prefix, networks), reverse=True)
    return tuple(sorted(by_length, key=lambda prefix: int(prefix.partition("/")[2]), reverse=True))


def record(conf: QuickConf, order: str) -> str:
    """The name by which resolvconf is told of an interface.

    Debian's resolvconf ranks records by their names: the first pattern of its list is a good rank.
    """
    for line in order.split("\n"):
        found = _RECORD.fullmatch(line.strip(" \t"))
        if found:
            return f"{found[1]}.{conf.interface}"
    return conf.interface


def _mtu(conf: QuickConf, facts: UpFacts) -> int:
    """The file's, or what fits the widest way; an endpoint's route of its own counts before the link."""
    if conf.mtu is not None:
        return conf.mtu
    widest = max((way.mtu for way in facts.ways), default=0)
    return (widest or facts.default.mtu or _USUAL_MTU) - _OVERHEAD


def _dns(conf: QuickConf, facts: UpFacts) -> Iterator[Step]:
    if not conf.dns_servers:  # domains alone change nothing
        return
    if not facts.resolvconf:
        raise PlanError(
            f"{conf.interface}: DNS needs the program resolvconf: install resolvconf, openresolv or "
            "systemd-resolved, or take DNS out of the file"
        )
    yield SetDns(record(conf, facts.resolvconf_order), conf.dns_servers, conf.dns_domains)


def _routes(conf: QuickConf, facts: UpFacts) -> Iterator[Step]:
    if conf.table == OFF:
        return
    own = [network for address in conf.addresses for network in _connected(address)]
    mark = conf.device.fwmark or 0
    for prefix in prefixes(conf):
        if conf.table != AUTO:
            yield AddRoute(conf.interface, prefix, conf.table)
        elif not _is_default(prefix):
            if not any(_covers(network, prefix) for network in own):
                yield AddRoute(conf.interface, prefix)
        else:
            if not mark:
                mark = _free_table(facts.tables)
                yield SetMark(conf.interface, mark)
            yield from _full_tunnel(conf, facts, prefix, mark)


def _full_tunnel(conf: QuickConf, facts: UpFacts, prefix: str, mark: int) -> Iterator[Step]:
    family: Family = 6 if ":" in prefix else 4
    yield AddRoute(conf.interface, prefix, str(mark))
    yield AddTunnelRule(family, mark)
    yield AddMainRule(family)
    if family == 4:
        yield ValidateMark()
    yield AddGuard(conf.interface, family, _own_addresses(conf, family), mark, facts.tool)


def _own_addresses(conf: QuickConf, family: Family) -> tuple[str, ...]:
    """As the kernel writes them, without their lengths."""
    own = (text.prefix(f"{address.partition('/')[0]}/0").partition("/")[0] for address in conf.addresses)
    return tuple(dict.fromkeys(address for address in own if (":" in address) == (family == 6)))


def _connected(address: str) -> Iterator[str]:
    """The network that the kernel routes through a link that has this address.

    Source: net/ipv4/fib_frontend.c, fib_add_ifaddr: none for a host alone, nor for 0.0.0.0/8;
    net/ipv6/addrconf.c makes one for each.
    """
    network = ipaddress.ip_interface(address).network
    zero = network.version == 4 and int(network.network_address) >> 24 == 0
    if not zero and (network.version, network.prefixlen) != (4, 32):
        yield str(network)


def _covers(network: str, prefix: str) -> bool:
    wide, narrow = ipaddress.ip_network(network), ipaddress.ip_network(prefix)
    return wide.version == narrow.version and (
        wide.prefixlen <= narrow.prefixlen and narrow.network_address in wide
    )


def _free_table(used: frozenset[int]) -> int:
    table = _FIRST_TABLE
    while table in used:
        table += 1
    return table


def _is_default(prefix: str) -> bool:
    return prefix.endswith("/0")


def _without_rules(conf: QuickConf, facts: DownFacts) -> Iterator[Step]:
    """Who has no default route left now, or another table, has rules of this kind only by hand."""
    if conf.table != AUTO or not facts.mark or not any(map(_is_default, facts.prefixes)):
        return
    families: tuple[tuple[Family, Rules], ...] = ((4, facts.rules4), (6, facts.rules6))
    for family, rules in families:
        yield from (RemoveTunnelRule(family, facts.mark) for _ in range(rules.tunnel))
        yield from (RemoveMainRule(family) for _ in range(min(rules.tunnel, rules.main)))


def _without_mark(conf: QuickConf, facts: DownFacts) -> Iterator[Step]:
    """Others than this tunnel may need it still."""
    own = sum(isinstance(step, RemoveTunnelRule) and step.family == 4 for step in _without_rules(conf, facts))
    if facts.validated and facts.tunnels4 <= own:
        yield IgnoreMark()


def _without_guard(conf: QuickConf, facts: DownFacts) -> Iterator[Step]:
    tables = guard.tables_of(conf.interface, facts.tables)
    if tables:
        yield RemoveGuardTables(tables)
    families: tuple[tuple[Family, str], ...] = ((4, facts.saved4), (6, facts.saved6))
    for family, saved in families:
        rules = guard.without_rules(conf.interface, saved)
        if rules:
            yield RemoveGuardRules(family, rules)
