"""Several fleets on one host: who is meant, who is let in, what one does to the other: nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from agent import bundle as bundles
from agent.bundle import Bundle, Gateway, Route
from agent.host.errors import HostError
from agent.netns import Place
from agent.report import Observed, OtherFleet, Report
from agent.resident import member as module
from agent.resident.admission import RefusedError
from agent.resident.engine import Clocks
from agent.resident.fleets import Fleets
from agent.resident.member import Shared
from agent.resident.store import Store, StoreError
from agent.secret import Secrets
from tests.agent.resident.onehost import OneHost
from tests.agent.samples import FLEET, OTHER_FLEET, bundle, interface, other, peer, secrets_of

NEW_FLEET = "ef" * 16
GATEWAY = Gateway(clamp_mss=True)


class SharedHost(OneHost):
    """Shows everybody the firewall tables of all."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        looked_at = {place.interface for place in made}
        looked_at |= {interface.name for interface in (bundle.interfaces if bundle else ())}
        if looked_at & self.broken:
            raise HostError(f"{min(looked_at)}: cannot be observed")
        seen = self.simulated.observe()
        found = tuple(interface for interface in seen.interfaces if interface.name in looked_at)
        return replace(seen, interfaces=found)

    def look_up(self, endpoint: str) -> Optional[str]:
        raise HostError(f"{endpoint} does not resolve")


class World:
    """The agent's fleets on one host."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.host = SharedHost()
        self.fleets = self.start()

    def start(self) -> Fleets:
        """A new process on the same host."""
        clocks = Clocks(lambda: 0.0, lambda: 1.7e9)
        around = Shared(self.host, clocks, "0" * 64, lambda: None, lambda: False)
        self.fleets = Fleets(around, self.state)
        self.fleets.load()
        return self.fleets

    def apply(self, wanted: Bundle, replace_fleet: bool = False) -> Report:
        given = secrets_of(wanted).to_json()
        member = self.fleets.take(bundles.to_json(wanted), given, replace_fleet)
        assert member.converge("apply").complete
        report = member.engine.report()
        self.fleets.let_go()
        return report

    def report(self, *words: str) -> Report:
        member = self.fleets.find(words) or self.fleets.nobody()
        return member.engine.report()

    def folders(self) -> dict[str, str]:
        """The folders, and the name of the fleet that each keeps."""
        found = {}
        for folder in (self.state / "fleets").iterdir():
            held = Store(folder).load().bundle
            assert held is not None
            found[folder.name] = held.fleet_name
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "indexes", lambda places: {place.interface: 1 for place in places})
    return World(tmp_path / "state")


def test_two_fleets_live_side_by_side(world: World) -> None:
    assert world.apply(bundle(1)).others == ()
    report = world.apply(other())
    assert (report.fleet_name, report.others) == ("beta", (OtherFleet("acme", 1),))
    assert [seen.name for seen in report.observed.interfaces] == ["wg1"]
    assert set(world.host.simulated.devices) == {"wg0", "wg1"}
    assert world.folders() == {FLEET: "acme", OTHER_FLEET: "beta"}
    for again in (bundle(1), other()):
        assert world.apply(again).pending == ()


def test_a_request_says_which_fleet_where_there_are_several(world: World) -> None:
    assert world.report().fleet is None
    world.apply(bundle(1))
    assert world.report().fleet == FLEET
    world.apply(other())
    with pytest.raises(RefusedError, match="several fleets, acme, beta: say which"):
        world.report()
    assert world.report("acme").fleet == FLEET
    assert world.report(OTHER_FLEET).fleet == OTHER_FLEET
    assert world.report(OTHER_FLEET, "acme").fleet == OTHER_FLEET, "an id counts more than a name"
    assert world.report(NEW_FLEET, "acme").fleet == FLEET


def test_who_is_not_here_hears_who_is(world: World) -> None:
    world.apply(bundle(1))
    report = world.report(OTHER_FLEET, "beta")
    assert (report.fleet, report.revision, report.observed.interfaces) == (None, None, ())
    assert [told.name for told in report.others] == ["acme"]
    assert not (world.state / "fleets" / "none").exists()


def test_a_collision_changes_nothing(world: World) -> None:
    world.apply(bundle(1))
    before = world.host.simulated.observe()
    for replace_fleet in (False, True):
        with pytest.raises(RefusedError, match='beside fleet "acme"'):
            world.apply(other("wg0"), replace_fleet)
    assert world.host.simulated.observe() == before
    assert world.folders() == {FLEET: "acme"}
    assert world.report().fleet == FLEET


def test_a_fleet_that_grows_into_another_is_refused(world: World) -> None:
    world.apply(bundle(1))
    world.apply(other())
    with pytest.raises(RefusedError, match="both listen on UDP port 51821"):
        world.apply(bundle(2, [interface(listen_port=51821)]))
    assert world.report("acme").revision == 1


def test_a_fleet_of_the_same_name_takes_over_only_when_told_to(world: World) -> None:
    world.apply(bundle(7))
    world.apply(other())
    new = bundle(1, [interface(listen_port=51900)], fleet=NEW_FLEET)
    with pytest.raises(RefusedError, match="--replace-fleet"):
        world.apply(new)
    report = world.apply(new, replace_fleet=True)
    assert (report.fleet, report.pending) == (NEW_FLEET, ())
    assert world.folders() == {NEW_FLEET: "acme", OTHER_FLEET: "beta"}
    assert world.host.simulated.devices["wg0"].seen.listen_port == 51900
    world.start()
    assert world.report("acme").fleet == NEW_FLEET


def test_one_that_was_ended_while_it_took_over_moves_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(bundle(7))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "move", _full)
        world.apply(bundle(1, fleet=NEW_FLEET), replace_fleet=True)
    assert world.folders() == {FLEET: "acme"}
    world.start()
    assert world.folders() == {NEW_FLEET: "acme"}
    assert world.report(NEW_FLEET).pending == ()


def test_a_fleet_is_renamed_but_not_to_the_name_of_another(world: World) -> None:
    world.apply(bundle(1))
    world.apply(other())
    assert world.apply(bundle(2, fleet_name="acme2")).fleet_name == "acme2"
    with pytest.raises(RefusedError, match='called "beta" too'):
        world.apply(bundle(3, fleet_name="beta"), replace_fleet=True)


def test_who_leaves_takes_its_own_things_and_its_folder(world: World) -> None:
    world.apply(bundle(1, [interface(gateway=GATEWAY)], forwarding=True))
    world.apply(other(gateway=GATEWAY))
    report = world.apply(bundle(2, []))
    assert (report.fleet, report.revision, report.pending) == (FLEET, 2, ())
    assert set(world.host.simulated.devices) == {"wg1"}
    assert set(world.host.simulated.firewalls) == {"wg1"}
    assert world.host.simulated.forwarding is False
    assert world.folders() == {OTHER_FLEET: "beta"}
    assert world.report().fleet == OTHER_FLEET


def test_who_cannot_be_taken_away_in_full_stays(world: World) -> None:
    world.apply(bundle(1))
    world.host.broken = {"wg0"}
    member = world.fleets.take(bundles.to_json(bundle(2, [])), [], False)
    assert not member.converge("apply").complete
    world.fleets.let_go()
    assert world.folders() == {FLEET: "acme"}
    world.host.broken = set()
    world.start().members[0].restore("start")
    world.fleets.let_go()
    assert world.folders() == {}
    assert world.host.simulated.devices == {}


def test_forwarding_stays_as_long_as_one_wants_it(world: World) -> None:
    world.apply(bundle(1, forwarding=True))
    wanting = other()
    both = bundle(1, wanting.interfaces, fleet=OTHER_FLEET, fleet_name="beta", forwarding=True)
    world.apply(both)
    assert world.apply(bundle(2)).pending == ()
    assert world.host.simulated.forwarding is True
    world.apply(bundle(3, []))
    assert world.host.simulated.forwarding is True
    world.apply(bundle(2, wanting.interfaces, fleet=OTHER_FLEET, fleet_name="beta"))
    assert world.host.simulated.forwarding is False


def test_one_that_is_damaged_is_told_and_does_not_disturb(world: World) -> None:
    world.apply(bundle(1))
    world.apply(other())
    (world.state / "fleets" / FLEET / "state.json").write_text("{")
    world.start()
    assert world.report("beta").problems == ()
    assert world.report("beta").others == (OtherFleet(FLEET, None),)
    damaged = world.report(FLEET)
    assert (damaged.fleet, len(damaged.problems)) == (None, 1)
    assert world.apply(replace(other(), revision=2)).problems == ()
    with pytest.raises(RefusedError, match="wg5 might be"):
        world.apply(bundle(1, [interface("wg5")], fleet=NEW_FLEET, fleet_name="gamma"))
    assert world.apply(bundle(2)).problems == ()
    assert world.folders() == {FLEET: "acme", OTHER_FLEET: "beta"}


def test_one_that_is_damaged_keeps_its_full_tunnel(world: World) -> None:
    """Neither its rules nor its guard are for another fleet to remove."""
    hub = peer(2, allowed_ips=("10.77.0.2/32", "0.0.0.0/0"))
    tunnel = interface(fwmark=7, peers=(hub,), routes=(Route("0.0.0.0/0", "10.77.0.1", 7),), gateway=GATEWAY)
    world.apply(bundle(1, [tunnel], forwarding=True))
    world.apply(replace(other(), forwarding=True))
    before = world.host.simulated.observe()
    (world.state / "fleets" / FLEET / "state.json").write_text("{")
    world.start()
    assert world.apply(other(revision=2)).pending == ()
    assert world.host.simulated.observe() == before


def test_two_that_are_damaged_come_back_one_by_one(world: World) -> None:
    world.apply(bundle(1))
    world.apply(other())
    for fleet in (FLEET, OTHER_FLEET):
        (world.state / "fleets" / fleet / "state.json").write_text("{")
    world.start()
    for again in (bundle(2), other()):
        report = world.apply(again)
        assert (report.problems, report.pending) == ((), ())
    assert world.folders() == {FLEET: "acme", OTHER_FLEET: "beta"}


def test_the_folders_are_for_the_agent_alone(world: World) -> None:
    world.apply(bundle(1))
    folders = (world.state, world.state / "fleets", world.state / "fleets" / FLEET)
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3


def test_what_cannot_be_kept_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.apply(bundle(1))
    monkeypatch.setattr("agent.resident.store.replace_file", _full)
    with pytest.raises(StoreError, match="no space left"):
        world.apply(other())
    assert world.folders() == {FLEET: "acme"}
    assert world.report().fleet == FLEET


def test_what_is_no_fleet_is_left_alone(world: World) -> None:
    world.apply(bundle(1))
    strange = world.state / "fleets" / "notes.txt"
    strange.write_text("mine")
    (world.state / "fleets" / NEW_FLEET).mkdir()
    world.start()
    assert world.report().fleet == FLEET
    assert strange.exists()


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
