"""Rules of routing policy, over rtnetlink.

Job: list, add and remove those that carry our protocol number, every change being safe to repeat; and the
words for rules that lead into a full tunnel, whoever's they are. Refuses to know what they are for. Called
by host, and by quick, whose rules carry no number.
"""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import Any, NamedTuple, Optional

from pyroute2.netlink.exceptions import NetlinkError

from agent.egress import Rule, Version
from agent.host.network import PROTOCOL, dump, netlink, unless

# include/uapi/linux/fib_rules.h
_TO_TABLE = 1
_INVERT = 0x2
_UNSET = 0xFFFFFFFF

FAMILIES: dict[Version, int] = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class Lookup(NamedTuple):
    """What is for all packets but those with `but_mark`, looks into `table`.

    `specific`: default routes of the table do not count.
    """

    table: int
    but_mark: Optional[int] = None
    specific: bool = False

    def words(self, version: Version) -> dict[str, Any]:
        """As the library takes it."""
        words: dict[str, Any] = {"family": FAMILIES[version], "table": self.table}
        if self.but_mark is not None:
            words.update(fwmark=self.but_mark, fwmask=_UNSET, flags=_INVERT)
        if self.specific:
            words["suppress_prefixlen"] = 0
        return words


class Listed(NamedTuple):
    """A rule that there is; `protocol` says who made it, 0 for nobody who says so."""

    lookup: Lookup
    priority: int
    protocol: int


class Rules:
    """This host's network namespace. All methods raise OSError with an errno."""

    def ours(self) -> tuple[Rule, ...]:
        """Those that are ours, in the kernel's order; none of a family that it does not have."""
        rules: list[Rule] = []
        with netlink() as ip:
            for version, family in FAMILIES.items():
                with unless(errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                    found = [_rule(version, one) for one in dump(partial(ip.get_rules, family=family))]
                    rules += [rule for rule in found if rule is not None]
        return tuple(rules)

    def others_mark(self) -> bool:
        """Whether somebody else has a rule (IPv4) for what has not a mark: a full tunnel that is not ours."""
        with netlink() as ip:
            return any(
                leads_unmarked(found) and found.get_attr("FRA_PROTOCOL") != PROTOCOL
                for found in dump(partial(ip.get_rules, family=FAMILIES[4]))
            )

    def add(self, rule: Rule) -> None:
        """Adds a rule. EEXIST where somebody else has the same."""
        with netlink() as ip:
            try:
                ip.rule("add", **_words(rule))
            except NetlinkError as error:
                if error.code != errno.EEXIST or rule not in self.ours():
                    raise

    def remove(self, rule: Rule) -> None:
        """Removes a rule of ours if it is there."""
        with netlink() as ip, unless(errno.ENOENT):
            ip.rule("del", **_words(rule))


def listed(found: Any) -> Optional[Listed]:
    """None for a rule that asks for anything else, or for more, than a Lookup."""
    attributes = dict(found["attrs"])
    mark = attributes.pop("FRA_FWMARK", None) or None
    suppressed = attributes.pop("FRA_SUPPRESS_PREFIXLEN", _UNSET)
    fits = (
        attributes.pop("FRA_FWMASK", _UNSET) == _UNSET
        and found["action"] == _TO_TABLE
        and found["flags"] & _INVERT == (_INVERT if mark else 0)
        and suppressed in (0, _UNSET)
        and not (found["src_len"] or found["dst_len"] or found["tos"])
    )
    priority, protocol = attributes.pop("FRA_PRIORITY", 0), attributes.pop("FRA_PROTOCOL", 0)
    lookup = Lookup(attributes.pop("FRA_TABLE", found["table"]), mark, suppressed == 0)
    return Listed(lookup, priority, protocol) if fits and not attributes else None


def leads_unmarked(found: Any) -> bool:
    """Whether a rule is for what has not a mark, as that of a full tunnel is."""
    return bool(found["flags"] & _INVERT and found.get_attr("FRA_FWMARK"))


def _words(rule: Rule) -> dict[str, Any]:
    lookup = Lookup(rule.table, rule.but_mark, rule.specific)
    return {**lookup.words(rule.version), "priority": rule.priority, "protocol": PROTOCOL}


def _rule(version: Version, found: Any) -> Optional[Rule]:
    """None for one of others, and for one of a kind that we do not make."""
    one = listed(found)
    if one is None or one.protocol != PROTOCOL:
        return None
    return Rule(version, one.priority, *one.lookup)
