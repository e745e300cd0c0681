"""Our nftables table of an interface, and whether a table is as it was written. Pure.

Job: the rules as text, and what differs between two listings of a table, in words. Refuses to know how
rules are loaded. Called by firewall.

What nft prints for a rule differs from version to version, so what is found is not compared with what was
meant, but with what the same nft printed right after it was written. Where another version looks, handles
and comments are compared: the kernel never changes a rule, it makes another with a handle of its own.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from agent.bundle import Gateway
from agent.egress import Guard
from agent.host import guard as guards

Listing = list[dict[str, Any]]

# nft(8), "Standard priority names": mangle and srcnat, which old versions do not know by name.
_MANGLE = -150
_SOURCE_NAT = 100
_ESCAPES = {"=": "/e", "+": "/p"}
_VERSION = "metainfo"
_HANDLE = "handle"


def table_name(interface: str) -> str:
    """The table of an interface; what nft takes in no name becomes what no interface's name has."""
    return "fleet-" + "".join(_ESCAPES.get(letter, letter) for letter in interface)


def removal(interface: str) -> str:
    """Removes the table, whether or not it is there: it is made first (`destroy` is younger)."""
    table = f"table inet {table_name(interface)}"
    return f"{table}\ndelete {table}\n"


def replacement(interface: str, gateway: Optional[Gateway], guard: Optional[Guard] = None) -> str:
    """The table anew, as one transaction.

    MSS: `rt mtu` is the smaller of the ways to and back (net/netfilter/nft_rt.c), and only ever makes the
    MSS smaller (nft_exthdr.c). Masquerade: only a connection's first packet comes by, so replies and what
    was forwarded to a port from outside stay as they are; a packet of the host's own has no iifname. Guard:
    see `agent.host.guard`.
    """
    lines = [removal(interface) + f"table inet {table_name(interface)} {{"]
    for chain in guards.chains(interface, guard) if guard else ():
        lines += _chain(*chain)
    if gateway is not None and gateway.clamp_mss:
        lines += _chain("forward", f"type filter hook forward priority {_MANGLE}", _clamp(interface))
    if gateway is not None and gateway.masquerade:
        rules = _masquerade(interface, gateway)
        lines += _chain("postrouting", f"type nat hook postrouting priority {_SOURCE_NAT}", rules)
    return "\n".join([*lines, "}", ""])


def alteration(written: Listing, found: Listing) -> Optional[str]:
    """What is not as it was written, in words; None where all is."""
    if _version(written) == _version(found):
        same = _bare(written) == _bare(found)
    else:
        same = list(map(_identity, _objects(written))) == list(map(_identity, _objects(found)))
    if same:
        return None
    present = {rule.get("comment") for rule in _rules(found)}
    gone = [str(rule.get("comment")) for rule in _rules(written) if rule.get("comment") not in present]
    if gone:
        return f"without {' and '.join(repr(comment) for comment in gone)}"
    return "changed by hand"


def _chain(name: str, hook: str, rules: Iterable[str]) -> list[str]:
    return [f"\tchain {name} {{", f"\t\t{hook}; policy accept;", *(f"\t\t{rule}" for rule in rules), "\t}"]


def _clamp(interface: str) -> Iterator[str]:
    for key, words in (("iifname", "out of"), ("oifname", "into")):
        clamp = "tcp flags syn tcp option maxseg size set rt mtu"
        yield f'{key} "{interface}" {clamp} comment "MSS {words} the tunnel"'


def _masquerade(interface: str, gateway: Gateway) -> Iterator[str]:
    leaving = ", ".join(f'"{name}"' for name in gateway.masquerade)
    for family, version in (("ip", 4), ("ip6", 6)):
        sources = [p for p in gateway.sources if ipaddress.ip_network(p).version == version]
        if sources:
            fleet = f"{{ {', '.join(sources)} }}"
            ways = f'iifname "{interface}" oifname {{ {leaving} }}'
            ends = f"{family} saddr {fleet} {family} daddr != {fleet}"
            yield f'{ways} {ends} masquerade comment "masquerade IPv{version}"'


def _version(listing: Listing) -> Any:
    return next((entry[_VERSION].get("version") for entry in listing if _VERSION in entry), None)


def _objects(listing: Listing) -> list[tuple[str, dict[str, Any]]]:
    """(kind, values) of what is listed, in its order."""
    return [item for entry in listing if _VERSION not in entry for item in entry.items()]


def _rules(listing: Listing) -> list[dict[str, Any]]:
    return [values for kind, values in _objects(listing) if kind == "rule"]


def _identity(item: tuple[str, dict[str, Any]]) -> tuple[Any, ...]:
    kind, values = item
    return (kind, *(values.get(key) for key in (_HANDLE, "name", "chain", "comment", "policy")))


def _bare(listing: Listing) -> Any:
    """Without handles, which a rule that was written again gets anew, and sets in one order."""
    return [
        (kind, _ordered({key: value for key, value in values.items() if key != _HANDLE}))
        for kind, values in _objects(listing)
    ]


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        done = {key: _ordered(item) for key, item in value.items()}
        if isinstance(done.get("set"), list):
            done["set"] = sorted(done["set"], key=json.dumps)
        return done
    return [_ordered(item) for item in value] if isinstance(value, list) else value
