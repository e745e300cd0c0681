"""Rules of routing policy as the kernel lists them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from agent.egress import Rule
from agent.host import rules as module
from agent.host.rules import Rules

EVERYTHING: dict[str, Any] = {
    "FRA_TABLE": 7,
    "FRA_SUPPRESS_PREFIXLEN": 0xFFFFFFFF,
    "FRA_PROTOCOL": 119,
    "FRA_PRIORITY": 32765,
}
MARKED = {**EVERYTHING, "FRA_FWMARK": 7, "FRA_FWMASK": 0xFFFFFFFF}


def message(flags: int = 0, action: int = 1, **attributes: Any) -> dict[str, Any]:
    listed = list(attributes.items())
    header = {"src_len": 0, "dst_len": 0, "tos": 0, "table": 252, "action": action, "flags": flags}
    return {"header": {"flags": 0}, "attrs": listed, **header}


def listed(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any], v6: int = 0) -> tuple[Rule, ...]:
    """What is ours among the rules of IPv4; `v6`: the errno of those of IPv6."""

    class Kernel:
        def get_rules(self, family: int) -> list[dict[str, Any]]:
            if family == socket.AF_INET6 and v6:
                raise NetlinkError(v6)  # type: ignore[no-untyped-call]
            return list(found) if family == socket.AF_INET else []

    @contextmanager
    def netlink() -> Iterator[Any]:
        yield Kernel()

    monkeypatch.setattr(module, "netlink", netlink)
    return Rules().ours()


def test_what_is_ours_is_told_from_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    specific = {**EVERYTHING, "FRA_TABLE": 254, "FRA_SUPPRESS_PREFIXLEN": 0, "FRA_PRIORITY": 32764}
    others = (
        message(**{**EVERYTHING, "FRA_PROTOCOL": 2}),
        message(**{**EVERYTHING, "FRA_SRC": "10.0.0.0"}),
        message(**{**EVERYTHING, "FRA_SUPPRESS_PREFIXLEN": 8}),
        message(action=6, **EVERYTHING),
        message(flags=2, **EVERYTHING),
        message(**MARKED),
        {**message(**EVERYTHING), "tos": 4},
        message(flags=2, **{**MARKED, "FRA_FWMASK": 0xFF}),
    )
    found = listed(monkeypatch, message(**specific), *others, message(flags=2, **MARKED))
    assert found == (Rule(4, 32764, 254, specific=True), Rule(4, 32765, 7, but_mark=7))


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EOPNOTSUPP])
def test_a_host_without_ipv6_has_rules_of_ipv4(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    assert len(listed(monkeypatch, message(flags=2, **MARKED), v6=error)) == 1


def test_another_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetlinkError):
        listed(monkeypatch, v6=errno.EPERM)
