"""The replay window against vectors, and against a set that forgets nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REPLAY_WINDOW
from agent.wireguard.replay import ReplayWindow
from tests.agent.wireguard.vectors import load

VECTORS = load("replay")


def _steps(sequence: list[Any]) -> list[tuple[int, bool]]:
    steps = []
    for step in sequence:
        if isinstance(step, dict):
            steps += [(counter, step["accept"]) for counter in range(*step["range"])]
        else:
            steps.append((int(step[0]), step[1]))
    return steps


@pytest.mark.parametrize("sequence", [VECTORS["main_kernel_reject"], *VECTORS["bulk"]])
def test_vectors(sequence: list[Any]) -> None:
    window = ReplayWindow()
    for counter, accepted in _steps(sequence):
        assert window.accept(counter) is accepted, counter


def test_constants_are_those_of_the_vectors() -> None:
    assert VECTORS["window"] == REPLAY_WINDOW
    assert int(VECTORS["reject_after_messages_kernel"]) == REJECT_AFTER_MESSAGES


jumps = st.one_of(
    st.integers(-3, 3),
    st.integers(-70, 70),
    st.integers(-REPLAY_WINDOW - 3, -REPLAY_WINDOW + 3),
    st.integers(-10_000, 10_000),
    st.integers(-100_000, 1 << 62),
)


@given(st.lists(jumps, max_size=200))
def test_as_a_set_that_forgets_nothing(steps: list[int]) -> None:
    window, seen, highest = ReplayWindow(), set[int](), 0
    for step in steps:
        counter = max(0, highest + step)
        new = counter not in seen and counter + REPLAY_WINDOW >= highest and counter < REJECT_AFTER_MESSAGES
        assert window.accept(counter) is new
        if new:
            seen.add(counter)
            highest = max(highest, counter)
