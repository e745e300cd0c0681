"""Timestamps increase, whatever the clock does, and do not tell too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.wireguard.tai64n import stamp

NEVER = bytes(12)


def test_a_known_time() -> None:
    assert stamp(1_700_000_000 * 10**9 + 0x01FFFFFF, NEVER).hex() == "400000006553f10a" + "01000000"


def test_the_last_granule_of_a_second_is_followed_by_the_next_second() -> None:
    late = stamp(5 * 10**9 + 999_999_999, NEVER)
    assert stamp(5 * 10**9 + 999_999_999, late) == stamp(6 * 10**9, NEVER)


@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_always_later_than_the_one_before(walls: list[int]) -> None:
    last = NEVER
    for wall in walls:
        new = stamp(wall, last)
        assert new > last
        assert int.from_bytes(new[8:], "big") % 2**24 == 0
        assert int.from_bytes(new[8:], "big") < 10**9
        last = new
