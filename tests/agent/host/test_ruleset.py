"""The table of a gateway as text, and what hands can do to it without being unseen."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bundle import Gateway
from agent.egress import Guard
from agent.host.ruleset import alteration, removal, replacement, table_name

CLAMP = Gateway(clamp_mss=True)
BOTH = Gateway(True, ("eth0", "eth1"), ("10.77.0.0/16", "192.168.1.0/24", "fd77::/48"))


def rule(handle: int, chain: str, comment: str, *expr: Any) -> dict[str, Any]:
    return {"rule": {"table": "t", "chain": chain, "handle": handle, "comment": comment, "expr": list(expr)}}


def match(*names: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": list(names)}}}


def listing(version: str = "1.0.6") -> list[dict[str, Any]]:
    return [
        {"metainfo": {"version": version}},
        {"table": {"name": "t", "handle": 4}},
        {"chain": {"name": "forward", "handle": 1, "policy": "accept"}},
        rule(2, "forward", "one", match("a", "b"), {"accept": None}),
        rule(3, "forward", "two", match("c", "d"), {"accept": None}),
    ]


def test_a_clamp_alone() -> None:
    text = replacement("wg0", CLAMP)
    assert text.startswith(removal("wg0"))
    assert 'iifname "wg0" tcp flags syn tcp option maxseg size set rt mtu' in text
    assert 'oifname "wg0" tcp flags syn tcp option maxseg size set rt mtu' in text
    assert "masquerade" not in text
    assert "nat" not in text


def test_masquerade_is_for_what_comes_from_the_fleet_and_leaves_it() -> None:
    lines = [line.strip() for line in replacement("wg0", BOTH).splitlines() if "masquerade" in line]
    four, six = "{ 10.77.0.0/16, 192.168.1.0/24 }", "{ fd77::/48 }"
    ways = 'iifname "wg0" oifname { "eth0", "eth1" }'
    assert lines == [
        f'{ways} ip saddr {four} ip daddr != {four} masquerade comment "masquerade IPv4"',
        f'{ways} ip6 saddr {six} ip6 daddr != {six} masquerade comment "masquerade IPv6"',
    ]
    only_four = replacement("wg0", Gateway(False, ("eth0",), ("10.77.0.0/16",)))
    assert "ip6" not in only_four
    assert "maxseg" not in only_four


def test_a_guard_is_for_the_addresses_that_there_are() -> None:
    text = replacement("wg0", None, Guard(7, ("10.77.0.1", "10.77.0.9")))
    assert "ip daddr { 10.77.0.1, 10.77.0.9 } fib saddr type != local drop" in text
    assert 'oifname "wg0" meta mark 0 ip saddr != { 10.77.0.1, 10.77.0.9 } meta mark set 7' in text
    assert "ip6" not in text
    assert "maxseg" not in text
    both = replacement("wg0", BOTH, Guard(7, ("fd77::1",)))
    assert "ip6 saddr != { fd77::1 }" in both
    assert "masquerade" in both
    marking = [line for line in both.splitlines() if "meta mark set" in line]
    assert marking
    assert all("meta mark 0" in line for line in marking)  # marks of others stay


def test_no_word_of_a_text_names_another_table() -> None:
    named = re.findall(r"^(?:delete )?table (\S+) (\S+)", replacement("wg0", BOTH), re.MULTILINE)
    assert named == [("inet", "fleet-wg0")] * 3


@given(st.lists(st.from_regex(r"\A[a-zA-Z0-9_=+.-]{1,15}\Z"), min_size=2, max_size=2, unique=True))
def test_every_interface_has_a_table_of_its_own(names: list[str]) -> None:
    tables = {table_name(name) for name in names}
    assert len(tables) == 2
    assert all(re.fullmatch(r"[a-z][a-zA-Z0-9/_.-]*", table) for table in tables)


def test_what_nft_may_say_anew_is_no_alteration() -> None:
    again = listing()
    again[3]["rule"]["handle"] = 99
    again[3]["rule"]["expr"][0] = match("b", "a")
    assert alteration(listing(), again) is None
    newer = listing("1.1.0")
    newer[3]["rule"]["expr"] = [{"said": "otherwise"}]
    assert alteration(listing(), newer) is None


@pytest.mark.parametrize("version", ["1.0.6", "1.1.0"])
def test_rules_that_are_gone_are_named(version: str) -> None:
    assert alteration(listing(), listing(version)[:3]) == "without 'one' and 'two'"
    assert alteration(listing(), [*listing(version)[:3], listing()[4]]) == "without 'one'"


@given(st.data())
def test_nothing_that_hands_do_is_unseen(data: st.DataObject) -> None:
    """In the kernel whatever is changed, added or moved has a new handle, so any nft shows it."""
    version = data.draw(st.sampled_from(["1.0.6", "1.1.0"]))
    found = copy.deepcopy(listing(version))
    place = data.draw(st.integers(3, 4))
    kind = data.draw(st.sampled_from(["delete", "replace", "add", "swap", "policy"]))
    other = rule(9, "forward", data.draw(st.sampled_from(["one", "two", "three"])), match("e", "f"))
    if kind == "delete":
        del found[place]
    elif kind == "replace":
        found[place] = other
    elif kind == "add":
        found.insert(place, other)
    elif kind == "swap":
        found[3], found[4] = found[4], found[3]
    else:
        found[2]["chain"]["policy"] = "drop"
    assert alteration(listing(), found) is not None
