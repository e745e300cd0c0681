"""JSON that others wrote: what is not JSON, or more than anybody needs, is one ValueError and no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from agent.codec import LATER, CodecError, decode, encode, loads


@dataclass(frozen=True)
class Thing:
    """One field of each kind that is easily got wrong."""

    size: float = 0.0
    kind: Literal["a", "b"] = "a"
    value: Any = None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 21,
        "9" * 100_000,
        "NaN",
        "[-Infinity]",
        "1e999",
        "-1e999",
        '"\\ud800"',
        '["\\uDfff"]',
        '{"\\ud800": 1}',
        b"\xff",
        b'"\xed\xa0\x80"',
    ],
)
def test_what_is_not_json_or_too_much(text: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("1.5e3", 1500.0),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\\\ud800"', "\\ud800"),
        (b'{"a": [null, true]}', {"a": [None, True]}),
    ],
)
def test_what_is(text: Any, value: Any) -> None:
    assert loads(text) == value


@pytest.mark.parametrize(
    "document",
    [
        {"size": 10**400},
        {"size": float("nan")},
        {"size": float("inf")},
        {"size": True},
        {"kind": []},
        {"kind": {}},
        {"value": {}},
        {"value": [[]]},
        {"value": [{}]},
        {"value": float("inf")},
    ],
)
def test_values_that_no_contract_has(document: Any) -> None:
    with pytest.raises(CodecError, match=next(iter(document))):
        decode(Thing, document)


@pytest.mark.parametrize("value", [None, 1, 1.5, "x", True, [], [1, "x", None]])
def test_a_value_of_any_kind_is_a_scalar_or_a_list_of_them(value: Any) -> None:
    assert decode(Thing, {"value": value}).value == value


@dataclass(frozen=True)
class Younger:
    """A contract that got a field later."""

    size: int
    things: tuple[Thing, ...] = field(default=(), metadata=LATER)


def test_a_field_that_came_later_is_written_only_where_it_says_something() -> None:
    assert encode(Younger(1)) == {"size": 1}
    assert encode(Younger(1, (Thing(),)))["things"] == [{"size": 0.0, "kind": "a", "value": None}]
    for value in (Younger(1), Younger(1, (Thing(2.0),))):
        assert decode(Younger, encode(value)) == value
