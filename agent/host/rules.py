"""Rules of routing policy, over rtnetlink.

Job: list, add and remove those that carry our protocol number. Refuses to know what they are for. Called by
host. Every change is safe to repeat.
"""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import Any, Optional

from pyroute2.netlink.exceptions import NetlinkError

from agent.egress import Rule, Version
from agent.host.network import PROTOCOL, dump, netlink, unless

# include/uapi/linux/fib_rules.h
_TO_TABLE = 1
_INVERT = 0x2
_UNSET = 0xFFFFFFFF

_FAMILIES: tuple[tuple[Version, int], ...] = ((4, int(socket.AF_INET)), (6, int(socket.AF_INET6)))


class Rules:
    """This host's network namespace. All methods raise OSError with an errno."""

    def ours(self) -> tuple[Rule, ...]:
        """Those that are ours, in the kernel's order; none of a family that it does not have."""
        rules: list[Rule] = []
        with netlink() as ip:
            for version, family in _FAMILIES:
                with unless(errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                    found = [_rule(version, one) for one in dump(partial(ip.get_rules, family=family))]
                    rules += [rule for rule in found if rule is not None]
        return tuple(rules)

    def others_mark(self) -> bool:
        """Whether somebody else has a rule (IPv4) for what has not a mark: a full tunnel that is not ours."""
        with netlink() as ip:
            return any(
                found["flags"] & _INVERT
                and found.get_attr("FRA_FWMARK")
                and found.get_attr("FRA_PROTOCOL") != PROTOCOL
                for found in dump(partial(ip.get_rules, family=int(socket.AF_INET)))
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


def _words(rule: Rule) -> dict[str, Any]:
    words: dict[str, Any] = {
        "family": dict(_FAMILIES)[rule.version],
        "priority": rule.priority,
        "table": rule.table,
        "protocol": PROTOCOL,
    }
    if rule.but_mark is not None:
        words.update(fwmark=rule.but_mark, fwmask=_UNSET, flags=_INVERT)
    if rule.specific:
        words["suppress_prefixlen"] = 0
    return words


def _rule(version: Version, found: Any) -> Optional[Rule]:
    """None for one of others, and for one of a kind that we do not make."""
    attributes = dict(found["attrs"])
    mark = attributes.pop("FRA_FWMARK", None)
    suppressed = attributes.pop("FRA_SUPPRESS_PREFIXLEN", _UNSET)
    fits = (
        attributes.pop("FRA_PROTOCOL", None) == PROTOCOL
        and attributes.pop("FRA_FWMASK", _UNSET) == _UNSET
        and found["action"] == _TO_TABLE
        and found["flags"] & _INVERT == (_INVERT if mark else 0)
        and suppressed in (0, _UNSET)
    )
    priority, table = attributes.pop("FRA_PRIORITY", 0), attributes.pop("FRA_TABLE", found["table"])
    if not fits or attributes:
        return None
    return Rule(version, priority, table, mark, specific=suppressed == 0)
