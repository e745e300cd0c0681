"""When to converge, and how often things went away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.resident.backoff import Backoff
from agent.resident.keeper import CALM, LOST, RETRY, Keeper


def test_nothing_is_due_while_all_is_well() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    assert keeper.see(1, {"wg0": 3}, {"wg0"}) == []
    assert keeper.deadline is None
    assert not keeper.due(1e9)


@pytest.mark.parametrize("index", [None, 4])
def test_a_device_that_went_away_is_made_again_at_once(index: int | None) -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    assert keeper.see(1, {"wg0": index}, {"wg0"}) == ["wg0"]
    assert keeper.due(1)
    assert keeper.restarts == {"wg0": 1}


def test_a_loss_is_told_once() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    keeper.see(1, {"wg0": None}, {"wg0"})
    assert keeper.see(2, {"wg0": None}, {"wg0"}) == []
    assert keeper.restarts == {"wg0": 1}


def test_a_kernel_device_has_no_process_to_count() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    assert keeper.see(1, {"wg0": None}, ()) == ["wg0"]
    assert keeper.restarts == {}


def test_a_device_that_dies_again_and_again_is_made_less_eagerly() -> None:
    keeper, now, waits = Keeper(), 0.0, []
    for index in range(10):
        keeper.converged(now, True, {"wg0": index})
        keeper.see(now + 1, {"wg0": None}, {"wg0"})
        waits.append(keeper.wait("wg0", now + 1))
        assert keeper.deadline is not None
        now = keeper.deadline
        assert keeper.due(now)
    assert waits == [*LOST, LOST[-1], LOST[-1]]
    assert keeper.restarts == {"wg0": 10}


def test_a_device_that_lived_for_long_is_made_again_at_once() -> None:
    keeper = Keeper()
    now = 0.0
    for index in range(4):
        keeper.converged(now, True, {"wg0": index})
        keeper.see(now + 1, {"wg0": None}, {"wg0"})
        now += 1 + keeper.wait("wg0", now + 1)
    keeper.converged(now, True, {"wg0": 9})
    keeper.see(now + CALM + 1, {"wg0": None}, {"wg0"})
    assert keeper.wait("wg0", now + CALM + 1) == LOST[0]


def test_each_interface_has_its_own_patience() -> None:
    keeper = Keeper()
    for now in range(5):
        keeper.converged(now, True, {"wg0": now, "wg1": 99})
        keeper.see(now, {"wg0": None, "wg1": 99}, {"wg0", "wg1"})
    keeper.converged(5, True, {"wg0": 5, "wg1": 99})
    keeper.see(5, {"wg0": 5, "wg1": None}, {"wg0", "wg1"})
    assert keeper.wait("wg1", 5) == 0
    assert keeper.restarts == {"wg0": 5, "wg1": 1}


def test_what_failed_is_tried_again_ever_later() -> None:
    keeper, now, waits = Keeper(), 0.0, []
    for _ in range(len(RETRY) + 2):
        keeper.converged(now, False, {"wg0": None})
        assert keeper.see(now, {"wg0": None}, ()) == []
        assert keeper.deadline is not None
        waits.append(keeper.deadline - now)
        now = keeper.deadline
    assert waits == [*RETRY, RETRY[-1], RETRY[-1]]


def test_a_device_that_died_while_converging_is_seen() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": None})
    assert keeper.see(0, {"wg0": None}, {"wg0"}) == ["wg0"]


def test_an_interface_that_no_bundle_names_is_not_missed() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    keeper.converged(1, True, {})
    assert keeper.expected() == ()
    assert keeper.see(2, {}, {"wg0"}) == []


def test_a_difference_to_mend_is_due_at_once() -> None:
    keeper = Keeper()
    keeper.converged(0, True, {"wg0": 3})
    keeper.heal(5)
    assert keeper.due(5)


def test_a_difference_that_comes_back_at_once_is_mended_ever_less_eagerly() -> None:
    """Else whoever makes it, and we, would keep the host busy."""
    keeper, now, waits = Keeper(), 0.0, []
    for _ in range(10):
        keeper.converged(now, True, {"wg0": 3})
        keeper.heal(now)
        assert keeper.deadline is not None
        waits.append(keeper.deadline - now)
        now = keeper.deadline
    assert waits == [*LOST, LOST[-1], LOST[-1]]
    keeper.converged(now, True, {"wg0": 3})
    keeper.heal(now + CALM + 1)
    assert keeper.due(now + CALM + 1)


@given(st.lists(st.floats(0, 100), max_size=30))
def test_waits_rise_until_there_was_calm(pauses: list[float]) -> None:
    delays, calm = (0.0, 1.0, 3.0, 9.0), 50.0
    backoff, now, expected = Backoff(delays, calm), 0.0, 0
    for number, pause in enumerate(pauses):
        now += pause
        if number and pause > calm:
            expected = 0
        delay = backoff.ended(now)
        assert delay == delays[min(expected, 3)]
        expected += 1
        now += delay
