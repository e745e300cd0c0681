"""Indices are random and never given twice."""

from __future__ import annotations

from agent.wireguard.index import IndexTable


def test_a_taken_index_is_not_given_again_until_it_is_free() -> None:
    draws = [b"\1\0\0\0", b"\1\0\0\0", b"\2\0\0\1", b"\1\0\0\0"]
    table: IndexTable[str] = IndexTable(lambda size: draws.pop(0))
    first = table.new()
    table.put(first, "first")
    second = table.new()
    table.put(second, "second")
    assert (first, second) == (1, 0x01000002)
    assert (table.get(first), table.get(second)) == ("first", "second")
    table.remove(first)
    table.remove(first)
    assert table.get(first) is None
    assert table.new() == first
