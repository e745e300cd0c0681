"""The loop, on a host without a kernel: clients, lost devices, faults and the end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import bundle as bundles
from agent import client
from agent.bundle import Bundle
from agent.report import from_json as report_from_json
from agent.resident import engine as engines
from agent.resident import keeper, member
from agent.resident import probe as probes
from agent.resident import service as module
from agent.resident.notify import Notifier
from agent.resident.server import Server
from agent.resident.service import Service
from tests.agent.resident import fakehost
from tests.agent.resident.fakehost import FakeHost
from tests.agent.samples import OTHER_FLEET, bundle, interface, other, peer, secrets_of
from tests.lab.namespaces import wait_until


class Running:
    """A service in a thread."""

    def __init__(self, folder: Path, host: FakeHost, environ: dict[str, str]) -> None:
        self.host = host
        self.socket = folder / "run" / "agent.sock"
        self._server = Server(self.socket)
        self.service = Service(host, self._server, folder / "state", Notifier(environ))
        self._wake, self._signal = socket.socketpair()
        self._thread = threading.Thread(target=self.service.run, args=(self._wake,))
        self._thread.start()

    def ask(self, **request: Any) -> Any:
        return json.loads(client.ask(request, str(self.socket), 10, 5))

    def report(self) -> Any:
        answer = self.ask(op="report")
        assert answer["ok"], answer
        return report_from_json(answer["report"])

    def apply(self, wanted: Bundle, replace_fleet: bool = False) -> Any:
        return self.ask(
            op="apply",
            bundle=bundles.to_json(wanted),
            secrets=secrets_of(wanted).to_json(),
            replace_fleet=replace_fleet,
        )

    def end(self) -> None:
        self.service.stop()
        self._signal.send(b"x")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.service.close()
        self._wake.close()
        self._signal.close()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(engines, "converge", fakehost.converge)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(member, "OBSERVE_SECONDS", 0.05)
    monkeypatch.setattr(keeper, "RETRY", (0.05,))
    running: list[Running] = []

    def make(host: FakeHost, **environ: str) -> Running:
        monkeypatch.setattr(module, "indexes", host.look)
        monkeypatch.setattr(member, "indexes", host.look)
        running.append(Running(tmp_path, host, environ))
        return running[-1]

    yield make
    for each in running:
        if each._thread.is_alive():
            each.end()


def test_apply_and_report(start: Start) -> None:
    agent = start(FakeHost())
    answer = agent.apply(bundle(1))
    assert answer["ok"]
    assert [change["action"] for change in answer["changes"]] == ["add", "change"]
    assert answer["report"]["pending"] == []
    assert agent.apply(bundle(1))["changes"] == []
    assert agent.report().revision == 1


def test_secrets_for_taking_a_fleet_over(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    assert agent.ask(op="secrets") == {"ok": True, "secrets": secrets_of(bundle(1)).to_json()}


def test_what_is_refused_is_one_sentence(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(5))
    for refused in (agent.apply(bundle(4)), agent.apply(bundle(6, fleet=OTHER_FLEET)), agent.ask(op="dance")):
        assert refused["ok"] is False
        assert refused["error"]
        assert "\n" not in refused["error"]
    assert agent.apply(bundle(1, fleet=OTHER_FLEET), replace_fleet=True)["report"]["fleet"] == OTHER_FLEET


def test_two_fleets_have_a_request_and_a_fate_of_their_own(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    agent.apply(other())
    refused = agent.ask(op="report")
    assert refused["error"] == "this host is in several fleets, acme, beta: say which, with --fleet NAME"
    agent.host.failing = {"wg0"}
    failed = agent.apply(bundle(2, [interface(mtu=1300)]))
    assert failed["report"]["problems"] == ["wg0: it cannot be done"]
    agent.host.lose("wg1")
    wait_until(lambda: "wg1" in agent.host.devices, "the other fleet's device")
    report = report_from_json(agent.ask(op="report", fleets=["beta"], probe=True)["report"])
    assert (report.fleet, report.problems, report.restarts) == (OTHER_FLEET, (), {"wg1": 1})
    assert agent.ask(op="secrets", fleets=[OTHER_FLEET])["secrets"] == secrets_of(other()).to_json()


def test_a_fleet_that_is_left_is_forgotten_once_its_last_report_is_out(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    assert agent.apply(bundle(2, []))["report"]["revision"] == 2
    assert agent.report().fleet is None
    assert not any((agent.socket.parent.parent / "state" / "fleets").iterdir())


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"op": 7},
        {"op": "apply"},
        {"op": "apply", "bundle": [], "secrets": 1},
        {"op": ["report"]},
        {"op": "report", "fleets": "acme"},
        {"op": "report", "fleets": [1]},
    ],
)
def test_nonsense_does_not_end_it(start: Start, request_: dict[str, Any]) -> None:
    agent = start(FakeHost())
    assert agent.ask(**request_)["ok"] is False
    assert agent.ask(op="report")["ok"] is True


def test_a_start_brings_everything_back(start: Start) -> None:
    first = start(FakeHost())
    first.apply(bundle(1))
    first.end()
    after = start(FakeHost())  # a reboot: no device is left
    wait_until(lambda: "wg0" in after.host.devices, "the device")
    assert after.report().pending == ()


def test_the_end_takes_nothing_away(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    agent.end()
    assert "wg0" in agent.host.devices
    assert not agent.socket.exists()


def test_a_tunnel_that_hangs_is_a_problem_until_it_is_replaced_and_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "OBSERVE_SECONDS", 0.05)
    agent = start(FakeHost())
    agent.apply(bundle(1))
    agent.host.failing.add("wg0")  # it does not hang for long enough yet
    agent.host.hanging.add("wg0")
    wait_until(lambda: "failed wg0" in agent.host.events, "a try")
    assert any("does not answer" in problem for problem in agent.report().problems)
    agent.host.failing.clear()
    wait_until(lambda: agent.report().restarts == {"wg0": 1}, "another tunnel")
    assert agent.report().problems == ()


def test_a_tunnel_that_died_is_started_again_and_counted(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    for count in (1, 2):
        agent.host.lose("wg0")
        wait_until(lambda: "wg0" in agent.host.devices, "the device")
        wait_until(lambda n=count: agent.report().restarts == {"wg0": n}, "the count")  # type: ignore[misc]


def test_a_tunnel_that_always_dies_is_not_started_all_the_time(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    agent.host.dies_at_once = True
    agent.host.lose("wg0")
    wait_until(lambda: agent.host.events.count("add wg0") >= 3, "starts")
    wait_until(lambda: "again and again" in "".join(agent.report().problems), "the problem")
    assert agent.host.events.count("add wg0") < 6


def test_other_changes_by_hand_are_left_and_told(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))
    agent.host.devices["wg0"] = interface(mtu=1280)
    wait_until(lambda: agent.report().pending != (), "the difference")
    assert agent.host.devices["wg0"].mtu == 1280
    assert agent.host.events == ["add wg0", "change wg0"]


def test_a_host_that_heals_itself_mends_them(start: Start) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1, self_heal=True))
    agent.host.devices["wg0"] = interface(mtu=1280)
    wait_until(lambda: agent.host.devices["wg0"].mtu == 1420, "the old MTU")


def test_what_failed_is_tried_again(start: Start) -> None:
    host = FakeHost(failing={"wg0"})
    agent = start(host)
    answer = agent.apply(bundle(1))
    assert answer["ok"]
    assert answer["report"]["problems"] == ["wg0: it cannot be done"]
    assert answer["report"]["pending"] != []
    host.failing = set()
    wait_until(lambda: "wg0" in host.devices, "the device")
    assert agent.report().problems == ()


def test_a_fault_in_one_place_leaves_the_rest(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = start(FakeHost())
    agent.apply(bundle(1))

    def faulty(*_: object) -> Any:
        raise ZeroDivisionError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(agent.host, "observe", faulty)
        answer = agent.ask(op="report")
        assert answer == {
            "ok": False,
            "error": "the agent failed, its log says more: ZeroDivisionError: a fault",
        }
    assert agent.ask(op="report")["ok"]


def test_a_probe_answers_when_its_time_is_over_and_holds_up_nobody(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "send", lambda calls: tuple(call.peer for call in calls))
    monkeypatch.setattr(probes, "calls", lambda *_: (probes.Call(("wg0", peer(2).public_key), "x"),))
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    agent = start(FakeHost())
    agent.apply(bundle(1))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(agent.ask(op="report", probe=True)))
    thread.start()
    assert agent.ask(op="report")["ok"]
    assert answers == []
    thread.join(10)
    assert answers[0]["ok"]


def test_a_probe_without_anybody_to_call_answers_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1000.0)
    agent = start(FakeHost())
    assert agent.ask(op="report", probe=True)["ok"]


def test_systemd_is_told(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        agent = start(FakeHost(), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000000")
        heard = [systemd.recv(100)]
        while heard[-1] != b"READY=1":
            heard.append(systemd.recv(100))
        assert set(heard[:-1]) <= {b"EXTEND_TIMEOUT_USEC=90000000"}
        assert systemd.recv(100) == b"WATCHDOG=1"
        agent.end()
        while heard[-1] != b"STOPPING=1":
            heard.append(systemd.recv(100))


def test_nobody_is_told_where_nobody_asked() -> None:
    environ = {"PATH": "/bin", "WATCHDOG_USEC": "1"}
    notifier = Notifier(environ)
    notifier.ready()
    notifier.alive()
    assert environ == {"PATH": "/bin"}
