"""Arguments of ssh in an inventory: options, or one sentence why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.connection import parse_arguments


@pytest.mark.parametrize(
    "text",
    [
        "-o P]roxyJump=a",
        "-o 'Proxy.Jump a'",
        "-o =a",
        "-o ''",
        "-o",
        "-o Port=",
        "-o Port",
        "-F x",
        "a",
        "'",
        3,
    ],
)
def test_what_makes_no_sense(text: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_arguments(text)


@pytest.mark.parametrize(
    "text", ["-o Port=1", "-oPort=1", "-o 'Port 1'", "-o ' PORT = 1 '", "-p 1", "-A -p1"]
)
def test_ways_to_say_the_same(text: str) -> None:
    assert parse_arguments(text) == [("port", "1")]


@given(st.text(st.sampled_from("-oJilpP =]'\"\\.\n"), max_size=12))
def test_nothing_but_a_value_error(text: str) -> None:
    try:
        options = parse_arguments(text)
    except ValueError:
        return
    assert all(keyword and value for keyword, value in options)
