"""The rules of a NATing router, as text for `nft -f`.

What a home or office router does: source NAT for everything that goes out, nothing new comes in but on
forwarded ports. Pure. Called by `layout`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fleet.inventory.model import Address

_FAMILY = {4: "ipv4", 6: "ipv6"}
_ICMP, _ICMPV6 = 1, 58  # by number: minimal systems have no /etc/protocols to look names up in
_TARGET = {4: "ip to {}", 6: "ip6 to [{}]"}


@dataclass(frozen=True)
class Forward:
    """One port of the router's outer addresses that leads to the inner host."""

    protocol: Literal["tcp", "udp"]
    port: int
    inner_port: int


def ruleset(inner: Iterable[Address], forwards: Iterable[Forward]) -> str:
    """Rules for a router with interfaces `wan` and `lan`; `inner`: the host's address of each family."""
    inner = list(inner)
    lines = [
        f'    meta nfproto {_FAMILY[address.version]} iifname "wan" {forward.protocol} dport {forward.port} '
        f"dnat {_TARGET[address.version].format(address)}:{forward.inner_port}"
        for forward in forwards
        for address in inner
    ]
    forwarded = "\n".join(lines)
    return f"""flush ruleset
table inet router {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{forwarded}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" accept
    ct status dnat accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto {{ {_ICMP}, {_ICMPV6} }} accept
  }}
}}
"""
