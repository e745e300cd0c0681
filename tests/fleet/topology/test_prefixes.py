"""Prefix arithmetic against all addresses of a small space, one by one."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.topology.prefixes import Prefix, aggregate, carve, of_address, of_network, text, union

BASE = int(ip_address("10.0.0.0"))
SPACE = range(BASE, BASE + 64)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    length = draw(st.integers(26, 32))
    size = 1 << (32 - length)
    return Prefix(32, BASE + draw(st.integers(0, 64 // size - 1)) * size, length)


tables = st.dictionaries(prefixes(), st.sampled_from("ab"), max_size=12)


def answer(table: dict[Prefix, str], address: int) -> str | None:
    covering = [prefix for prefix in table if prefix.covers(Prefix(32, address, 32))]
    return table[max(covering, key=lambda prefix: prefix.length)] if covering else None


@settings(deadline=None)
@given(tables)
def test_an_aggregated_table_answers_the_same_everywhere(table: dict[Prefix, str]) -> None:
    smaller = aggregate(table)
    assert len(smaller) <= len(table)
    assert [answer(smaller, a) for a in SPACE] == [answer(table, a) for a in SPACE]


@settings(deadline=None)
@given(st.lists(prefixes(), max_size=12))
def test_a_union_is_the_same_set_of_disjoint_prefixes_and_cannot_be_smaller(parts: list[Prefix]) -> None:
    joined = union(parts)
    covered = [a for a in SPACE if any(part.covers(Prefix(32, a, 32)) for part in parts)]
    assert [
        a for part in joined for a in range(part.start, part.start + (1 << (32 - part.length)))
    ] == covered
    assert not any(one.sibling == other for one in joined for other in joined)


@settings(deadline=None)
@given(tables, st.lists(prefixes(), max_size=3))
def test_a_carved_table_answers_nothing_in_the_holes_unless_more_specific(
    table: dict[Prefix, str], holes: list[Prefix]
) -> None:
    carved = carve(table, holes)
    for address in SPACE:
        one = Prefix(32, address, 32)
        hole = max((h.length for h in holes if h.covers(one)), default=-1)
        entry = max((p.length for p in table if p.covers(one)), default=-1)
        expected = answer(table, address) if entry > hole else None
        assert answer(carved, address) == expected


def test_halves_of_one_owner_are_joined_and_nothing_else() -> None:
    table = {
        of_network(ip_network(net)): owner
        for net, owner in {
            "10.0.0.0/25": "a",
            "10.0.0.128/25": "a",
            "10.0.1.0/25": "a",
            "10.0.1.128/25": "b",
            "fd00::/65": "b",
            "fd00:0:0:0:8000::/65": "b",
        }.items()
    }
    joined = {text(prefix): owner for prefix, owner in aggregate(table).items()}
    assert joined == {"10.0.0.0/24": "a", "10.0.1.0/25": "a", "10.0.1.128/25": "b", "fd00::/64": "b"}


def test_a_prefix_that_another_owns_is_not_joined_over() -> None:
    table = {
        of_network(ip_network("10.0.0.0/24")): "b",
        of_network(ip_network("10.0.0.0/25")): "a",
        of_network(ip_network("10.0.0.128/25")): "a",
    }
    assert aggregate(table) == table


def test_the_whole_of_a_family_has_no_parent_to_join_into() -> None:
    assert [text(p) for p in union([of_network(ip_network("::/1")), of_network(ip_network("8000::/1"))])] == [
        "::/0"
    ]
    assert text(of_address(ip_address("fd77::1"))) == "fd77::1/128"
