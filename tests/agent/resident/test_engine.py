"""The order of things: kept before carried out, read again before answered, nothing forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, cast

import pytest

from agent import report as reports
from agent.bundle import Bundle, Gateway, Route
from agent.host.errors import HostError
from agent.netns import Place
from agent.operations import (
    AddAddress,
    AddInterface,
    Operation,
    RemoveRule,
    SetDevice,
    SetFirewall,
    SetLink,
    SetMarkValidation,
    SetPeer,
    SetRoute,
    Step,
)
from agent.report import Change, Observed, ObservedPeer
from agent.resident import engine as module
from agent.resident import probe
from agent.resident.admission import RefusedError
from agent.resident.answers import answer, refusal
from agent.resident.engine import Clocks, Engine
from agent.resident.health import PeerKey
from agent.resident.store import Contents, Store, StoreError
from agent.secret import SecretRef, Secrets
from tests.agent.resident import fakehost
from tests.agent.resident.fakehost import FakeHost
from tests.agent.resident.onehost import OneHost
from tests.agent.samples import OTHER_FLEET, bundle, interface, key, peer, secrets_of
from tests.agent.simulated_host import SimulatedHost

WALL = 1_700_000_000.0


@dataclass
class World:
    """An engine and what it stands in."""

    folder: Path
    host: FakeHost = field(default_factory=FakeHost)
    log: list[str] = field(default_factory=list)
    now: float = 0
    stop: bool = False

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.engine = self.start()

    def start(self) -> Engine:
        """A new process on the same host."""
        self.engine = Engine(
            self.host,
            self.store,
            Clocks(lambda: self.now, lambda: WALL + self.now),
            lambda text, *_: self.log.append(text),
            release="0" * 64,
            restarts={},
            stopping=lambda: self.stop,
        )
        self.engine.load()
        return self.engine

    def take(self, wanted: Bundle, replace_fleet: bool = False) -> None:
        self.engine.take(wanted, secrets_of(wanted), replace_fleet)

    def apply(self, wanted: Bundle) -> list[str]:
        """Takes and carries out a bundle; what was done."""
        self.take(wanted)
        return [f"{change.action} {change.item}" for change in self.engine.converge("apply").changes]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "converge", fakehost.converge)
    return World(tmp_path / "state")


def test_a_host_without_a_bundle_reports_itself(world: World) -> None:
    report = world.engine.report()
    assert (report.fleet, report.revision, report.links, report.pending) == (None, None, (), ())
    assert reports.from_json(answer(report)["report"]) == report


def test_a_bundle_is_kept_and_carried_out(world: World) -> None:
    assert world.apply(bundle(1)) == ["add wg0", "change wg0"]
    report = world.engine.report()
    assert (report.host, report.revision, report.digest) == ("host1", 1, bundle(1).digest())
    assert report.pending == ()
    assert report.secrets == tuple(sorted(bundle(1).secret_refs()))
    assert [link.host for link in report.links] == ["host2"]
    assert world.apply(bundle(1)) == []


def test_it_is_kept_before_anything_changes(world: World) -> None:
    world.apply(bundle(1))
    world.take(bundle(2, [interface(mtu=1300)]))
    assert world.store.load().bundle == bundle(2, [interface(mtu=1300)])
    assert world.host.devices["wg0"].mtu == 1420


def test_a_killed_agent_goes_on_where_it_was(world: World) -> None:
    world.apply(bundle(1))
    world.take(bundle(2, [interface("wg1")]))
    world.start()
    world.engine.converge("start")
    assert set(world.host.devices) == {"wg1"}
    assert world.store.load() == Contents(
        bundle(2, [interface("wg1")]), secrets_of(bundle(2, [interface("wg1")])), interfaces=(Place("wg1"),)
    )


def test_a_rebooted_host_is_what_it_was(world: World) -> None:
    world.apply(bundle(1))
    world.host = FakeHost()
    world.start()
    assert world.engine.converge("start").changes[0].item == "wg0"
    assert world.engine.report().pending == ()


def test_a_refused_bundle_changes_nothing(world: World) -> None:
    world.apply(bundle(5))
    before = world.store.load()
    for refused in (bundle(4), bundle(6, fleet=OTHER_FLEET), bundle(6, host="host9")):
        with pytest.raises(RefusedError):
            world.take(refused)
    assert world.store.load() == before
    assert world.engine.bundle == bundle(5)


def test_a_bundle_that_cannot_be_kept_is_not_carried_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(bundle(1))

    def full(_: Contents) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(world.store, "save", full)
    with pytest.raises(StoreError, match="no space left"):
        world.take(bundle(2, []))
    assert world.engine.bundle == bundle(1)
    assert world.engine.converge("retry").changes == ()
    assert set(world.host.devices) == {"wg0"}


def test_leaving_takes_everything_away(world: World) -> None:
    world.apply(bundle(1, [interface("wg0"), interface("wg1", listen_port=51821, routes=())]))
    assert sorted(world.apply(bundle(2, []))) == ["remove wg0", "remove wg1"]
    report = world.engine.report()
    assert (report.secrets, report.links, report.pending, report.revision) == ((), (), (), 2)
    assert world.store.load().interfaces == ()


def test_after_a_failure_nothing_is_removed(world: World) -> None:
    world.apply(bundle(1))
    world.host.failing = {"wg1"}
    world.take(bundle(2, [interface("wg1")]))
    done = world.engine.converge("apply")
    assert (done.changes, done.complete) == ((), False)
    assert set(world.host.devices) == {"wg0"}
    assert world.engine.report().problems == ("wg1: it cannot be done",)
    assert world.host.events[-1] == "failed wg1"
    assert [change.action for change in world.engine.report().pending] == ["add", "change", "remove"]
    world.host.failing = set()
    assert world.engine.converge("retry").complete
    assert set(world.host.devices) == {"wg1"}
    assert world.engine.report().problems == ()


class WithoutNft(OneHost):
    """A host that can do everything but firewalls."""

    def execute(self, step: Step, secrets: Secrets) -> None:
        if isinstance(step.operation, SetFirewall):
            raise HostError("wg0: install nftables")
        super().execute(step, secrets)


def test_a_firewall_that_cannot_be_made_keeps_nobody_in_the_fleet(tmp_path: Path) -> None:
    host, gateway = WithoutNft(), Gateway(clamp_mss=True)
    world = World(tmp_path, cast(Any, host))
    world.apply(bundle(1, [interface(peers=(peer(2), peer(3)), gateway=gateway)]))
    world.take(bundle(2, [interface(peers=(peer(2),), gateway=gateway)]))
    done = world.engine.converge("apply")
    assert [(change.layer, change.action) for change in done.changes] == [("peer", "remove")]
    assert not done.complete
    assert set(host.simulated.devices["wg0"].peers) == {peer(2).public_key}
    assert [change.layer for change in world.engine.report().pending] == ["firewall"]
    assert world.engine.report().problems == ("wg0: install nftables",)


def test_a_guard_that_cannot_be_made_keeps_nobody_in_the_fleet(tmp_path: Path) -> None:
    host = WithoutNft()
    world = World(tmp_path, cast(Any, host))
    world.apply(bundle(1, [interface(fwmark=7, peers=(HUB, OTHER))]))
    world.take(bundle(2, [replace(TUNNEL, peers=(HUB,))]))
    world.engine.converge("apply")
    assert set(host.simulated.devices["wg0"].peers) == {HUB.public_key}
    assert (host.simulated.rules, host.simulated.devices["wg0"].routes) == ([], {})


def test_a_device_gets_the_mtu_that_fits_and_keeps_up_with_it(world: World) -> None:
    wanted = bundle(1, [interface(mtu=None, peers=(peer(2),))])
    world.host.fits = 1440
    assert world.apply(wanted)[-1] == "change wg0 mtu"
    assert world.host.devices["wg0"].mtu == 1440
    world.host.fits = 1380
    report = world.engine.report()
    assert report.pending == ()  # the host's business, and no drift
    assert "1380" not in str(answer(report))
    assert world.engine.keep_up() is False
    assert world.host.devices["wg0"].mtu == 1380


def test_a_name_that_moved_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[probe.Call] = []

    def send(calls: Iterable[probe.Call]) -> tuple[PeerKey, ...]:
        called.extend(calls)
        return ()

    monkeypatch.setattr(probe, "send", send)
    world.apply(bundle(1, [interface(peers=(peer(2, endpoint="oslo:5"), peer(3, endpoint="lima:5")))]))
    for tx in (0, 148):
        for number in (2, 3):
            world.host.peers[key(number)] = ObservedPeer(key(number), endpoint="192.0.2.1:5", tx_bytes=tx)
        world.host.names = {"oslo:5": None}
        world.now += 30
        assert world.engine.keep_up() is (tx > 0)
    assert world.host.peers[key(3)].endpoint == "192.0.2.1:5"  # its name has no address now
    world.host.names = {"oslo:5": "192.0.2.7:5"}
    assert world.engine.keep_up() is False
    assert world.host.peers[key(2)].endpoint == "192.0.2.7:5"
    assert ("wg0", key(2)) in [call.peer for call in called]
    assert "change peer wg0 peer host2 endpoint (called in vain)" in world.log


def test_keeping_up_without_a_bundle(world: World) -> None:
    assert world.engine.keep_up() is False


HUB, OTHER = peer(2, allowed_ips=("10.77.0.2/32", "0.0.0.0/0")), peer(3)
TUNNEL = interface(
    fwmark=7, addresses=("10.77.0.1/32",), peers=(HUB, OTHER), routes=(Route("0.0.0.0/0", "10.77.0.1", 7),)
)


class Failing:
    """A host on which one step fails."""

    def __init__(self, fails: Callable[[Operation], bool], before: Observed) -> None:
        self.simulated = SimulatedHost(before)
        self._fails = fails

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, names: Iterable[str]) -> Observed:
        return self.simulated.observe()

    def execute(self, step: Step, secrets: Secrets) -> None:
        if self._fails(step.operation):
            raise HostError("no")
        self.simulated.execute(step)


@pytest.mark.parametrize(
    ("fails", "entered", "routed"),
    [
        (lambda operation: isinstance(operation, SetFirewall), False, False),
        (lambda operation: isinstance(operation, SetMarkValidation), False, True),
        (lambda operation: isinstance(operation, SetDevice) and operation.fwmark, False, True),
        (lambda operation: isinstance(operation, SetRoute), False, False),
        (lambda operation: getattr(operation, "public_key", "") == HUB.public_key, False, True),
        (lambda operation: getattr(operation, "public_key", "") == OTHER.public_key, True, True),
    ],
)
def test_nothing_is_led_into_a_tunnel_that_is_not_complete(
    tmp_path: Path, fails: Callable[[Operation], bool], entered: bool, routed: bool
) -> None:
    host = Failing(fails, Observed())
    world = World(tmp_path, cast(Any, host))
    world.take(bundle(1, [TUNNEL]))
    assert not world.engine.converge("apply").complete
    assert bool(host.simulated.rules) is entered
    assert bool(host.simulated.devices["wg0"].routes) is routed


def test_a_tunnel_that_cannot_be_left_goes_on_working(tmp_path: Path) -> None:
    whole = Failing(lambda operation: False, Observed())
    world = World(tmp_path, cast(Any, whole))
    world.apply(bundle(1, [TUNNEL]))
    before = whole.simulated.observe()
    world.host = cast(Any, Failing(lambda operation: isinstance(operation, RemoveRule), before))
    world.start()
    world.take(bundle(2, [interface(peers=(OTHER,))]))
    assert world.engine.converge("apply").changes == ()
    assert cast(Any, world.host).simulated.observe() == before


def test_interfaces_of_applies_that_failed_are_not_forgotten(world: World) -> None:
    world.apply(bundle(1, [interface("wg0")]))
    world.host.failing = {"wg9"}
    world.apply(bundle(2, [interface("wg1"), interface("wg9", listen_port=1, routes=())]))
    assert set(world.host.devices) == {"wg0", "wg1"}
    world.host.failing = set()
    world.start()
    world.apply(bundle(3, [interface("wg2")]))
    assert set(world.host.devices) == {"wg2"}


def test_converge_is_told_what_was_last_carried_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Optional[int]] = []

    def spy(wanted: Bundle, observed: Any, previous: Optional[Bundle]) -> Any:
        told.append(None if previous is None else previous.revision)
        return fakehost.converge(wanted, observed, previous)

    monkeypatch.setattr(module, "converge", spy)
    world.apply(bundle(1))
    world.apply(bundle(2))
    world.host.failing = {"wg0"}
    world.apply(bundle(3, [interface(mtu=1300)]))
    world.start()
    world.take(bundle(4, [interface(mtu=1290)]))
    world.host.failing = set()
    world.engine.converge("start")
    world.engine.converge("again")
    assert told == [None, 1, 2, 2, 2, 4]  # the third apply looks again at what could be removed


def test_a_host_that_cannot_be_observed_is_a_sentence(world: World) -> None:
    world.apply(bundle(1))
    world.host.blind = "wg0: its control socket does not answer"
    assert world.engine.converge("look") == module.Converged((), False)
    with pytest.raises(Exception, match="does not answer") as caught:
        world.engine.report()
    assert refusal(caught.value) == {"ok": False, "error": "wg0: its control socket does not answer"}
    with pytest.raises(HostError):
        world.engine.call()
    world.host.blind = None
    assert world.engine.converge("retry").complete


def test_no_step_is_begun_once_the_agent_has_to_end(world: World) -> None:
    world.take(bundle(1))
    world.stop = True
    assert world.engine.converge("start") == module.Converged((), False)
    assert world.host.events == []


def test_what_was_kept_and_cannot_be_read_is_a_problem(world: World) -> None:
    world.apply(bundle(1))
    (world.folder / "state.json").write_text("{")
    world.start()
    assert "cannot be used" in world.engine.report().problems[0]
    assert world.engine.converge("start").changes == ()
    assert set(world.host.devices) == {"wg0"}
    world.apply(bundle(1))
    assert world.engine.report().problems == ()


def test_secrets_live_as_long_as_bundles_name_them(world: World) -> None:
    world.apply(bundle(1))
    rotated = interface(private_key=SecretRef("key/1", 2), peers=(peer(2),))
    world.apply(bundle(2, [rotated]))
    assert world.engine.report().secrets == (SecretRef("key/1", 2), SecretRef("psk/1~2", 1))


def test_the_log_and_the_report_hold_no_key(world: World) -> None:
    world.apply(bundle(1))
    world.host.failing = {"wg0"}
    world.apply(bundle(2, [interface(mtu=1300)]))
    text = "\n".join(world.log) + str(answer(world.engine.report()))
    for secret in secrets_of(bundle(1)).values():
        assert secret.reveal_base64() not in text
        assert secret.reveal().hex() not in text


def test_a_probe_waits_for_those_it_called(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "send", lambda calls: tuple(call.peer for call in calls))
    world.apply(bundle(1, [interface(peers=(peer(2), peer(3), peer(4)))]))
    known = {"endpoint": "192.0.2.9:1", "rx_bytes": 9, "tx_bytes": 9}
    stale = ObservedPeer(key(2), **known, latest_handshake=WALL - 500)  # type: ignore[arg-type]
    world.host.peers = {
        key(2): stale,
        key(3): replace(stale, public_key=key(3)),
        key(4): replace(stale, public_key=key(4), latest_handshake=WALL - 5),
    }
    called = world.engine.call()
    assert called == {("wg0", key(2)), ("wg0", key(3))}
    world.host.peers[key(2)] = replace(stale, latest_handshake=WALL)
    assert world.engine.unanswered(called) == {("wg0", key(3))}
    world.now = 4
    assert [link.state for link in world.engine.report().links] == ["up", "down", "up"]


def test_a_device_made_anew_knows_where_its_peers_were(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def send(calls: tuple[probe.Call, ...]) -> tuple[PeerKey, ...]:
        called.extend(call.address for call in calls)
        return ()

    monkeypatch.setattr(probe, "send", send)
    world.apply(bundle(1, [interface(peers=(peer(2, endpoint=None), peer(3, endpoint=None)))]))
    world.host.peers = {key(2): ObservedPeer(key(2), endpoint="198.51.100.7:4444", latest_handshake=WALL)}
    world.engine.report()
    world.start()
    world.host.lose("wg0")
    world.host.peers = {}
    done = world.engine.converge("start")
    assert done.shaken
    world.engine.call()
    assert world.host.peers[key(2)].endpoint == "198.51.100.7:4444"
    assert called == ["10.77.0.2"]


def test_only_whom_a_change_may_have_put_out_of_reach_is_called() -> None:
    wanted = bundle(2, [interface(peers=(peer(2), peer(3)))])

    def shaken(*operations: Operation) -> set[str]:
        steps = [Step(Change("peer", "wg0", "change"), operation) for operation in operations]
        return {public_key for _, public_key in module._shaken(wanted, steps)}

    assert shaken(SetPeer("wg0", "host3", key(3), endpoint="192.0.2.9:7")) == {key(3)}
    assert shaken(SetPeer("wg0", "host3", key(3), persistent_keepalive=25)) == set()
    assert shaken(SetDevice("wg0", listen_port=7)) == {key(2), key(3)}
    assert shaken(AddInterface("wg0", "auto")) == {key(2), key(3)}
    assert shaken(SetLink("wg0", mtu=1400), AddAddress("wg0", "10.77.0.1/32")) == set()


def test_a_fault_is_an_answer() -> None:
    assert refusal(ZeroDivisionError("x"))["error"].startswith("the agent failed, its log says more")


def test_problems_are_few(world: World) -> None:
    many = [interface(f"wg{n}", listen_port=n, routes=()) for n in range(1, 50)]
    world.host.failing = {each.name for each in many}
    world.apply(bundle(1, many))
    assert len(world.engine.report().problems) == module.MOST_PROBLEMS
