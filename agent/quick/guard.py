"""The firewall rules around a full tunnel, as text for nft and for iptables-restore.

Job: nobody beside the tunnel reaches its addresses, and reverse path filters know the answers to what the
device sent by their mark. Pure. Called by plan and steps.

Source: what wireguard-tools 1.0.20210914 hands to both; the names are alike, so that each takes away what the
other made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Family = Literal[4, 6]
Tool = Literal["nft", "iptables"]

_CHAINS = (
    ("preraw", "prerouting", -300),
    ("premangle", "prerouting", -150),
    ("postmangle", "postrouting", -150),
)
_FAMILIES = ("ip", "ip6", "inet")


def table(interface: str) -> str:
    """The nftables table of an interface."""
    return f"wg-quick-{interface}"


def restore(family: Family) -> str:
    """The program that takes rules for iptables."""
    return "iptables-restore" if family == 4 else "ip6tables-restore"


def nft(interface: str, family: Family, addresses: Iterable[str], mark: int) -> str:
    """Makes the table of one family; `addresses` are without length."""
    ip = "ip" if family == 4 else "ip6"
    where = f"{ip} {table(interface)}"
    lines = [f"add table {where}"]
    lines += [
        f"add chain {where} {chain} {{ type filter hook {hook} priority {priority}; }}"
        for chain, hook, priority in _CHAINS
    ]
    lines += [
        f'add rule {where} preraw iifname != "{interface}" {ip} daddr {address} fib saddr type != local drop'
        for address in addresses
    ]
    # both end in a blank where wg-quick prints them, and so here: texts are compared
    lines.append(f"add rule {where} postmangle meta l4proto udp mark {mark} ct mark set mark ")
    lines.append(f"add rule {where} premangle meta l4proto udp meta mark set ct mark ")
    return _text(lines)


def iptables(interface: str, addresses: Iterable[str], mark: int) -> str:
    """The same for iptables-restore, or for ip6tables-restore: the addresses tell."""
    comment = _comment(interface)
    drop = f"-m addrtype ! --src-type LOCAL -j DROP {comment}"
    lines = ["*raw"]
    lines += [f"-I PREROUTING ! -i {interface} -d {address} {drop}" for address in addresses]
    lines += ["COMMIT", "*mangle"]
    lines.append(f"-I POSTROUTING -m mark --mark {mark} -p udp -j CONNMARK --save-mark {comment}")
    lines.append(f"-I PREROUTING -p udp -j CONNMARK --restore-mark {comment}")
    lines.append("COMMIT")
    return _text(lines)


def tables_of(interface: str, tables: Iterable[str]) -> tuple[str, ...]:
    """Those of `tables`, each `FAMILY NAME`, that are the interface's."""
    ours = {f"{family} {table(interface)}" for family in _FAMILIES}
    return tuple(found for found in tables if found in ours)


def without_tables(tables: Iterable[str]) -> str:
    """What nft takes to remove them."""
    return _text([f"delete table {found}" for found in tables])


def without_rules(interface: str, saved: str) -> str:
    """What iptables-restore takes to remove the rules among those of iptables-save; empty for none."""
    found = False
    lines = []
    for line in saved.split("\n"):
        if line.startswith("*") or line == "COMMIT":
            lines.append(line)
        elif line.startswith("-A ") and _comment(interface) in line:
            found = True
            lines.append(f"-D {line[3:]}")
    return _text(lines) if found else ""


def _comment(interface: str) -> str:
    return f'-m comment --comment "wg-quick(8) rule for {interface}"'


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
