"""What is prepared from what was reached, and what becomes of it host by host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import report as reports
from agent.report import Change, Link, Report
from agent.secret import Secrets
from fleet.delivery.release import Release, plan
from fleet.delivery.wheels import Wheel
from fleet.errors import FleetError
from fleet.rollout import apply, job
from fleet.rollout.apply import carry_out, down_links, read_again, waiting
from fleet.rollout.job import Prepared, prepare
from fleet.rollout.outcome import Outcome
from fleet.rollout.reach import Reached
from fleet.transport.base import Completed, TransportError
from tests.fleet.delivery.made import facts, python
from tests.fleet.rollout.made import FLEET, bundle, host, report


def digest(**values: Any) -> str:
    release = plan(facts(**values), userspace=True)
    assert isinstance(release, Release)
    return release.digest


class Agent:
    """A host whose agent answers every command with `report`, and every installation with ok."""

    timeout = 5.0

    def __init__(self, name: str, said: Report | None, changes: tuple[Change, ...] = ()) -> None:
        self.host, self.said, self.changes = name, said, changes
        self.commands: list[str] = []

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        self.commands.append("install" if " -c " in command else command.rpartition("/")[2])
        if self.commands[-1] == "install":
            return Completed(0, b'{"ok": true, "notes": ["a note"]}', "")
        if self.said is None:
            raise TransportError(self.host, "unreachable", "the connection was lost")
        answer: dict[str, Any] = {"ok": True, "report": reports.to_json(self.said)}
        answer["changes"] = [change.__dict__ for change in self.changes]
        return Completed(0, json.dumps(answer).encode(), "")

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture(autouse=True)
def wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels are had and packed without a package index."""
    monkeypatch.setattr(job, "fetch", lambda wheels, *_: {wheel: Path(wheel.file) for wheel in wheels})
    monkeypatch.setattr(apply, "archive", lambda *_: b"archive")


def reached(agent: Agent | None = None, **values: Any) -> Reached:
    return Reached(host(), agent or Agent("fra1", report(bundle())), facts(**values))


def prepared(found: Reached, wanted: Any = None) -> Prepared:
    return prepare(["fra1"], {"fra1": found}, {"fra1": wanted or bundle()}, {})


def error(found: Reached, wanted: Any = None) -> str:
    outcome = prepared(found, wanted).outcomes["fra1"]
    assert outcome.result == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("fra1: ")
    assert "\n" not in outcome.error
    return outcome.error


def carry(found: Reached, stop: bool = False) -> Outcome:
    events: list[str] = []
    outcome = carry_out(
        prepared(found).busy,
        {"fra1": Secrets()},
        forks=2,
        replace_fleet=False,
        event=lambda name, text: events.append(text),
        done=events.append,
        stop=lambda: stop,
    )["fra1"]
    assert events[-1:] == ["fra1"] or stop
    return outcome


def test_a_host_that_is_as_it_should_be_is_left_alone() -> None:
    said = report(bundle(), release=digest())
    idle = prepared(reached(release=digest(), report=said)).jobs["fra1"]
    assert idle.work.nothing
    assert idle.wheels == ()


def test_a_host_that_was_not_reached_keeps_its_reason() -> None:
    found = Reached(host(), error="fra1: no route", failure="unreachable")
    assert prepared(found).outcomes == {"fra1": Outcome("fra1", "unreachable", error="fra1: no route")}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"python": None}, "there is no python3"),
        ({"python": None, "old_python": "3.7.3"}, "its Python is 3.7.3"),
        ({"free_opt": 3 << 20}, "no space in /opt: 3 MiB are free and 32 MiB are needed"),
        ({"free_var": 0}, "no space in /var/lib"),
    ],
)
def test_a_host_that_cannot_be_served(values: dict[str, Any], reason: str) -> None:
    assert reason in error(reached(**values))


def test_a_kernel_without_wireguard_where_it_was_asked_for() -> None:
    assert "fleet_backend: auto" in error(reached(), bundle(backend="kernel"))
    assert prepared(reached(wireguard=True), bundle(backend="kernel")).busy


def test_the_kernel_device_needs_less() -> None:
    kernel = prepared(reached(wireguard=True)).jobs["fra1"].release
    assert [wheel.distribution for wheel in kernel.wheels] == ["pyroute2"]
    userspace = prepared(reached(wireguard=True), bundle(backend="userspace")).jobs["fra1"].release
    assert len(userspace.wheels) == 4


def test_without_wheels_the_hosts_own_modules_do(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []

    def offline(wheels: tuple[Wheel, ...], *_: object) -> dict[Wheel, Path]:
        tries.append(wheels)
        raise FleetError("this machine cannot download")

    monkeypatch.setattr(job, "fetch", offline)
    assert "this machine cannot download" in error(reached())
    everyone = {name: reached() for name in ("fra1", "sgp1")}
    tries.clear()
    found = prepare(everyone, everyone, {name: bundle(name) for name in everyone}, {})
    assert [outcome.result for outcome in found.outcomes.values()] == ["failed", "failed"]
    assert len(tries) == 1
    own = python(modules=frozenset({"pyroute2", "nacl", "cryptography"}))
    borrowing = prepared(reached(python=own)).jobs["fra1"]
    assert set(borrowing.release.borrowed) == {"pyroute2", "nacl", "cryptography"}
    said = report(bundle(), release=borrowing.release.digest)
    assert (
        prepared(reached(python=own, release=borrowing.release.digest, report=said)).jobs["fra1"].work.nothing
    )


def test_a_new_host_gets_the_agent_and_its_bundle() -> None:
    change = Change("peer", "wg0 peer oslo", "add")
    agent = Agent("fra1", report(bundle()), (change,))
    outcome = carry(reached(agent))
    assert outcome.result == "changed"
    assert [changed.layer for changed in outcome.changes] == ["runtime", "peer"]
    assert outcome.notes == ("a note",)
    assert agent.commands == ["install", "fleet-agent apply"]


def test_an_agent_that_runs_from_before_its_release_was_switched_gets_it_whole() -> None:
    old = report(bundle(), release="0" * 64)
    found = prepared(reached(release=digest(), report=old)).jobs["fra1"]
    assert found.work.install
    assert [wheel for wheel, _ in found.wheels] == list(found.release.wheels)


def test_a_changed_bundle_is_one_command() -> None:
    agent = Agent("fra1", report(bundle()))
    before = report(bundle(revision=2, listen_port=1), release=digest())
    outcome = carry(reached(agent, release=digest(), report=before))
    assert outcome.result == "changed"
    assert agent.commands == ["fleet-agent apply"]


@pytest.mark.parametrize(
    ("said", "result", "reason"),
    [
        (None, "unreachable", "the connection was lost"),
        (report(bundle(revision=9)), "failed", "another bundle"),
        (
            report(bundle(), pending=(Change("route", "wg0", "add"),), problems=("no permission",)),
            "failed",
            r"not everything could be changed \(add route wg0\): no permission",
        ),
    ],
)
def test_what_fails_says_why_and_what_was_done(said: Report | None, result: str, reason: str) -> None:
    outcome = carry(reached(Agent("fra1", said)))
    assert outcome.result == result
    import re

    assert re.match(f"fra1: .*{reason}", outcome.error or "")
    assert [change.layer for change in outcome.changes][:1] == ["runtime"]
    assert not outcome.ok


def test_who_can_only_call_comes_after_whom_it_calls() -> None:
    order: list[str] = []
    found = {}
    for name, endpoint in (("oslo", None), ("fra1", "192.0.2.1:51820"), ("sgp1", "192.0.2.2:51820")):
        agent = Agent(name, report(bundle(name)))
        found[name] = Reached(replace(host(name), endpoint=endpoint), agent, facts())
    jobs = prepare(found, found, {name: bundle(name) for name in found}, {}).busy
    outcomes = carry_out(
        jobs,
        dict.fromkeys(found, Secrets()),
        forks=3,
        replace_fleet=False,
        event=lambda *_: None,
        done=order.append,
        stop=lambda: False,
    )
    assert set(outcomes) == set(found)
    assert order[2] == "oslo"


def test_after_an_interrupt_nothing_is_begun() -> None:
    agent = Agent("fra1", report(bundle()))
    outcome = carry(reached(agent), stop=True)
    assert outcome.result == "skipped"
    assert agent.commands == []


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (report(bundle()), "changed"),
        (report(bundle(), pending=(Change("route", "wg0", "add"),)), "failed"),
        (None, "unreachable"),
    ],
)
def test_hosts_that_were_changed_are_read_again(said: Report | None, result: str) -> None:
    agent = Agent("fra1", said)
    jobs = prepared(reached(agent)).jobs
    before = {"fra1": Outcome("fra1", "changed"), "oslo": Outcome("oslo", "failed", error="oslo: broken")}
    after = read_again(before, jobs, forks=2, event=lambda *_: None, done=lambda _: None)
    assert after["fra1"].result == result
    assert after["oslo"] == before["oslo"]
    assert agent.commands == [f"fleet-agent report --probe --fleet {FLEET}"]


def test_links_that_are_down_between_good_hosts_are_told() -> None:
    def outcome(name: str, other: str, result: Any = "changed") -> Outcome:
        link = Link("wg0", other, "down", None, None, 0, 0)
        return Outcome(name, result, report=report(bundle(name), links=(link,)))

    both = {"fra1": outcome("fra1", "oslo"), "oslo": outcome("oslo", "fra1")}
    assert len(down_links(both)) == 1
    assert "fra1 - oslo" in down_links(both)[0]
    assert down_links({**both, "oslo": outcome("oslo", "fra1", "failed")}) == []
    up = Outcome("oslo", "changed", report=report(bundle("oslo"), links=()))
    assert down_links({"fra1": outcome("fra1", "oslo", "unchanged"), "oslo": up}) == []  # asked before


def test_hosts_outside_of_the_limit_are_known_still() -> None:
    good = Reached(host(), facts=facts(report=report(bundle())))
    bundles = {name: bundle() for name in ("a", "b", "c", "d")}
    found = {"a": good, "b": good, "c": Reached(host(), facts=facts()), "d": Reached(host(), error="dead")}
    assert waiting(found, bundles, {"a"}) == ["c"]
    assert waiting(found, {**bundles, "b": bundle(listen_port=1)}, {"a"}) == ["b", "c"]
