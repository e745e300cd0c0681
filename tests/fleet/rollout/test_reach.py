"""Hosts are reached side by side, and none holds up the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.report import Observed
from fleet.delivery.facts import Facts
from fleet.inventory.model import Host
from fleet.rollout import reach
from fleet.rollout.interrupt import Interrupt
from fleet.rollout.reach import in_parallel
from fleet.rollout.status import statuses
from fleet.transport.base import TransportError
from tests.fleet.delivery.made import FakeTransport, facts
from tests.fleet.rollout.made import bundle, host, report


class Hosts:
    """fra1 has an agent, new has none, dead cannot be reached, odd answers nonsense."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def open(self, found: Host, _access: object, _timeout: float) -> FakeTransport:
        if found.name == "dead":
            raise TransportError("dead", "unreachable", "no route")
        transport = FakeTransport()
        transport.host = found.name
        transport.close = lambda: self.closed.append(found.name)  # type: ignore[method-assign]
        return transport

    def gather(self, transport: FakeTransport, fleets: Sequence[str], probe: bool) -> Facts:
        assert (list(fleets), probe) == (["acme"], True)
        if transport.host == "odd":
            raise TransportError("odd", "failed", "its answers make no sense")
        return facts(report=report(bundle())) if transport.host == "fra1" else facts()


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    fake = Hosts()
    monkeypatch.setattr(reach, "open_transport", fake.open)
    monkeypatch.setattr(reach, "gather", fake.gather)
    return fake


def test_a_status_for_everyone_in_order(hosts: Hosts) -> None:
    names = ["odd", "fra1", "dead", "new"]
    found = statuses([host(name) for name in names], None, fleet="acme", forks=3, timeout=5, probe=True)
    assert [status.host for status in found] == names
    assert [status.reachable for status in found] == [True, True, False, True]
    assert [status.backend for status in found] == [None, "userspace", None, None]
    assert [status.error for status in found] == [
        "odd: its answers make no sense",
        None,
        "dead: no route",
        "new: there is no agent on it yet: run fleet apply",
    ]
    assert sorted(hosts.closed) == ["fra1", "new", "odd"]


def test_a_backend_is_userspace_if_any_interface_is() -> None:
    from fleet.rollout.outcome import Outcome

    one = report(bundle()).observed.interfaces[0]
    both = Observed((replace(one, backend="kernel"), one))
    assert Outcome("fra1", "changed", report=report(bundle(), observed=both)).backend == "userspace"
    assert (
        Outcome("fra1", "changed", report=report(bundle(), observed=Observed(both.interfaces[:1]))).backend
        == "kernel"
    )


def test_work_is_done_side_by_side_within_the_limit() -> None:
    both = threading.Barrier(2, timeout=20)
    results = in_parallel(lambda found: (both.wait(), found.name)[1], [host(str(n)) for n in range(4)], 2)
    assert sorted(results) == ["0", "1", "2", "3"]


def test_an_error_of_ours_is_not_lost() -> None:
    def fail(found: Host) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_parallel(fail, [host()], 1))


def test_who_is_interrupted_does_not_wait_for_a_host_that_hangs() -> None:
    goes_on = threading.Event()

    def work(found: Host) -> str:
        if found.name == "hangs":
            goes_on.wait()
        return found.name

    try:
        results = in_parallel(work, [host("hangs"), host("answers")], 2)
        assert next(results) == "answers"
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)  # would deadlock here
    finally:
        goes_on.set()


def test_nor_does_its_process() -> None:
    program = """
import threading
from fleet.rollout.reach import in_parallel
from tests.fleet.rollout.made import host

results = in_parallel(
    lambda found: found.name == "answers" or threading.Event().wait(), [host("hangs"), host("answers")], 2
)
assert next(results)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_first_interrupt_is_remembered_and_the_second_ends() -> None:
    told: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(lambda: told.append(1)) as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert told == [1]
    assert signal.getsignal(signal.SIGINT) is before
