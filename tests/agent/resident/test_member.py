"""What a fleet's member does unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.bundle import Route
from agent.operations import Step
from agent.resident.engine import Clocks
from agent.resident.keeper import RETRY
from agent.resident.member import Member, Shared
from agent.resident.store import Store
from agent.secret import Secrets
from tests.agent.resident.onehost import OneHost
from tests.agent.samples import bundle, interface, peer, secrets_of


def test_a_guard_that_went_is_back_before_anybody_asks(tmp_path: Path) -> None:
    """Without it nobody could: who calls from outside is not answered any more."""
    host, times = OneHost(), [0.0]
    clocks = Clocks(lambda: times[0], lambda: times[0])
    member = Member(
        Shared(host, clocks, "0" * 64, lambda: None, lambda: False), Store(tmp_path), lambda _: {}
    )
    hub = peer(2, allowed_ips=("10.77.0.2/32", "0.0.0.0/0"))
    wanted = bundle(1, [interface(fwmark=7, peers=(hub,), routes=(Route("0.0.0.0/0", "10.77.0.1", 7),))])
    member.engine.take(wanted, secrets_of(wanted), False)
    assert member.converge("apply").complete

    def later() -> None:
        for _ in range(3):
            times[0] += 31
            member.keep()

    rule = host.simulated.rules.pop()
    later()
    assert rule not in host.simulated.rules  # told, and left as hands made it
    host.simulated.firewalls.clear()
    later()
    assert set(host.simulated.firewalls) == {"wg0"}


def test_a_fault_is_tried_again_and_not_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the agent would do nothing but fail, or never do it again."""
    host, times = OneHost(), [0.0]
    clocks = Clocks(lambda: times[0], lambda: times[0])
    member = Member(
        Shared(host, clocks, "0" * 64, lambda: None, lambda: False), Store(tmp_path), lambda _: {}
    )
    wanted = bundle(1)
    member.engine.take(wanted, secrets_of(wanted), False)
    with monkeypatch.context() as patch:
        patch.setattr(host, "execute", _broken)
        with pytest.raises(RuntimeError):
            member.restore("start")
        member.keep()  # looks only
        for _ in range(3):
            assert times[0] < member.deadline <= times[0] + RETRY[-1]
            times[0] = member.deadline
            with pytest.raises(RuntimeError):
                member.keep()
        times[0] = member.deadline
    member.keep()
    assert set(host.simulated.devices) == {"wg0"}


def _broken(step: Step, secrets: Secrets) -> None:
    raise RuntimeError("can't start new thread")
