"""The token bucket."""

from __future__ import annotations

import pytest

from agent.wireguard.ratelimiter import RateLimiter, source_of
from tests.agent.wireguard.vectors import load

VECTOR = load("ratelimiter")


@pytest.mark.parametrize("start", [0.0, 0.1, 86400.123])
def test_vector(start: float) -> None:
    limiter = RateLimiter(VECTOR["packets_per_second"], VECTOR["burst"])
    waited = 0
    for wait_ms, allowed in VECTOR["steps"]:
        waited += wait_ms
        assert limiter.allows(b"\x7f\0\0\1", start + waited / 1000) is allowed


def test_sources_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(20, 5)
    assert [limiter.allows(b"\1\1\1\1", 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert limiter.allows(b"\1\1\1\2", 0.0)


def test_a_source_that_was_idle_for_a_second_has_its_burst_again() -> None:
    limiter = RateLimiter(20, 5)
    for at in (0.0, 1.0):
        assert [limiter.allows(b"\1\1\1\1", at) for _ in range(6)] == [True] * 5 + [False]


def test_an_ipv6_source_is_its_64() -> None:
    assert source_of(bytes(range(16))) == bytes(range(8))
    assert source_of(b"\1\2\3\4") == b"\1\2\3\4"


def test_more_sources_than_can_be_remembered_are_refused() -> None:
    limiter = RateLimiter(20, 5)
    allowed = sum(limiter.allows(number.to_bytes(4, "big"), 0.5) for number in range(70_000))
    assert allowed == 1 << 16
    assert limiter.allows(b"new!", 1.5)
