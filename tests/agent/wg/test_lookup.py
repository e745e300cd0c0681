"""Names that resolve at once, later, or never."""

from __future__ import annotations

import socket
from typing import Any, Optional

import pytest

from agent.host.device import SocketAddress
from agent.wg.lookup import RETRIES, VARIABLE, LookupFailedError, resolve, retries

LATER = socket.gaierror(socket.EAI_AGAIN, "later")
NEVER = socket.gaierror(socket.EAI_NONAME, "never")
V4 = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 5)), (None, None, None, "", ("192.0.2.2", 5))]
V6 = [(socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("fe80::1%eth0", 5, 0, 3))]


class World:
    """A resolver that answers in turn, and a clock that only notes how long one slept."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.said: list[str] = []
        self.slept: list[float] = []

    def resolve(self, attempts: Optional[int]) -> SocketAddress:
        return resolve("host.example", 5, attempts, self.said.append, self._lookup, self.slept.append)

    def _lookup(self, host: str, port: int, **_hints: Any) -> Any:
        assert (host, port) == ("host.example", 5)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "address"), [(V4, SocketAddress("192.0.2.1", 5)), (V6, SocketAddress("fe80::1", 5, 3))]
)
def test_the_first_address_is_taken(answer: Any, address: SocketAddress) -> None:
    world = World(answer)
    assert world.resolve(0) == address
    assert world.slept == []


def test_pauses_grow() -> None:
    world = World(LATER, LATER, LATER, V4)
    assert world.resolve(3) == SocketAddress("192.0.2.1", 5)
    assert world.slept == pytest.approx([1, 1.2, 1.44])
    assert world.said[-1] == "later; trying again in 1.44 seconds"


def test_an_end_is_made_of_it() -> None:
    world = World(LATER)
    with pytest.raises(LookupFailedError, match="later"):
        world.resolve(RETRIES)
    assert len(world.slept) == RETRIES


def test_pauses_do_not_grow_for_ever() -> None:
    world = World(*[LATER] * 100, V4)
    world.resolve(None)
    assert len(world.slept) == 100
    assert world.slept[-1] == 20


@pytest.mark.parametrize(
    ("answer", "reason"), [(NEVER, "never"), (UnicodeError("label too long"), "this is no host name")]
)
def test_what_will_never_resolve_is_not_waited_for(answer: Exception, reason: str) -> None:
    world = World(answer)
    with pytest.raises(LookupFailedError, match=reason):
        world.resolve(None)
    assert world.slept == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, 15), ("", 15), ("0", 0), (" 7", 7), ("2147483647", 2**31 - 1), ("infinity", None)],
)
def test_how_often(value: Optional[str], expected: Optional[int]) -> None:
    assert retries({} if value is None else {VARIABLE: value}) == expected


@pytest.mark.parametrize("value", ["x", "-1", "5x", "0x2", "INFINITY", "2147483648", "9" * 5000])
def test_what_is_no_number(value: str) -> None:
    with pytest.raises(ValueError, match=f"^{VARIABLE}: expected a number or infinity, not '{value}'$"):
        retries({VARIABLE: value})
