"""The guard of a full tunnel as chains of nftables. Pure. Called by ruleset.

What comes from outside to the host, and the answers to it, stay where they were: whoever is logged in over
SSH stays so, whoever calls a service is answered. What decides is the host's address that is used, not what
was seen of a connection, so connections that were open before survive whichever side speaks first:

- No packet for the tunnel's own addresses comes in beside the tunnel (CVE-2019-14899; so does wg-quick).
- What the host sends from another of its addresses is not led into the tunnel, whose other end would drop it:
  AllowedIPs say from which addresses a peer may send. The host itself chooses the tunnel's addresses for
  whatever it begins, by the preferred source of the route.
- What comes for another of the host's addresses carries the mark while its way back is looked up, for strict
  reverse path filters; so do the answers of ports that are forwarded to containers.
- Connections that began through the tunnel are known by the mark of the connection, and stay in it, also
  those to other addresses of the host. No other connection is marked.

Marks of the operator are never replaced, and our chains come after those of the usual priority: a mark of
theirs counts. What is passed on for others goes into the tunnel as what the host begins does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from agent.egress import Guard


class Chain(NamedTuple):
    """`hook` with its priority, and the rules."""

    name: str
    hook: str
    rules: tuple[str, ...]


# nft(8), "Standard priority names": raw, and right after mangle; before dstnat, which changes addresses
_RAW = -300
_AFTER_MANGLE = -149


def chains(interface: str, guard: Guard) -> Iterator[Chain]:
    """The chains of the family inet."""
    spoofed = tuple(
        f'iifname != "{interface}" {family} daddr {own} fib saddr type != local drop '
        f'comment "strangers to the tunnel, {words}"'
        for family, words, own in _own(guard)
    )
    yield Chain("preraw", f"type filter hook prerouting priority {_RAW}", spoofed)
    hook = f"type filter hook prerouting priority {_AFTER_MANGLE}"
    yield Chain("prerouting", hook, tuple(_incoming(interface, guard)))
    hook = f"type route hook output priority {_AFTER_MANGLE}"
    yield Chain("output", hook, tuple(_outgoing(interface, guard)))


def _incoming(interface: str, guard: Guard) -> Iterator[str]:
    mark = f"meta mark set {guard.mark}"
    yield (
        f'iifname "{interface}" ct state new ct mark 0 fib daddr type local ct mark set {_inside(guard)} '
        'comment "began through the tunnel"'
    )
    yield f'iifname {{ "lo", "{interface}" }} accept comment "not from outside"'
    yield f'ct mark {_inside(guard)} accept comment "belongs in the tunnel"'
    yield f'meta mark 0 fib daddr type local {mark} comment "from outside to this host"'
    yield f'meta mark 0 ct direction reply ct status dnat {mark} comment "answers of forwarded ports"'


def _outgoing(interface: str, guard: Guard) -> Iterator[str]:
    yield f'ct mark {_inside(guard)} accept comment "answers into the tunnel"'
    for family, words, own in _own(guard):
        yield (
            f'oifname "{interface}" meta mark 0 {family} saddr != {own} meta mark set {guard.mark} '
            f'comment "from other addresses, {words}"'
        )


def _inside(guard: Guard) -> int:
    """The mark of connections that began through the tunnel."""
    return guard.mark + 1


def _own(guard: Guard) -> Iterator[tuple[str, str, str]]:
    """For each IP version: nft's family, in words, and the tunnel's addresses as a set."""
    for family, version in (("ip", 4), ("ip6", 6)):
        own = [one for one in guard.addresses if ipaddress.ip_address(one).version == version]
        if own:
            yield family, f"IPv{version}", f"{{ {', '.join(own)} }}"
