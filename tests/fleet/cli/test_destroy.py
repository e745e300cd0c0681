"""`fleet destroy` from the command line to simulated hosts and back."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.report import OtherFleet
from fleet.transport.base import TransportError
from fleet.views import apply as view
from tests.fleet.cli.simulated import NAMES, Fleet

NOTHING = dict.fromkeys(NAMES)


def destroyed(fleet: Fleet, *argv: str, code: int = 0) -> dict[str, str]:
    hosts = fleet.json("destroy", "--yes", *argv, code=code)["hosts"]
    return {name: host["result"] for name, host in hosts.items()}


def all_are(result: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, result)


def releases(fleet: Fleet) -> set[str | None]:
    return {host.release for host in fleet.hosts.values()}


def test_everything_goes_and_again_nothing_is_to_do(fleet: Fleet) -> None:
    fleet.results()
    fleet.forget_commands()
    assert destroyed(fleet) == all_are("changed")
    assert all(host.commands == ["look", "remove"] for host in fleet.hosts.values())
    assert (fleet.revisions(), releases(fleet)) == (NOTHING, {None})
    fleet.forget_commands()
    assert destroyed(fleet) == all_are("unchanged")
    assert all(host.commands == ["look"] for host in fleet.hosts.values())


def test_apply_brings_the_same_fleet_back(fleet: Fleet) -> None:
    fleet.results()
    before = {name: host.bundle for name, host in fleet.hosts.items()}
    destroyed(fleet)
    assert fleet.results() == all_are("changed")
    for name, host in fleet.hosts.items():
        assert host.bundle is not None
        assert host.bundle.interfaces == before[name].interfaces  # type: ignore[union-attr]
        assert host.bundle.revision == 3


def test_people_see_what_goes(fleet: Fleet) -> None:
    fleet.results()
    code, out, err = fleet.run("destroy", "--yes")
    assert code == 0
    assert "  - interface  wg0" in out
    assert "  - file       /opt/fleet-agent, /var/lib/fleet-agent" in out
    assert "3 to change, 0 unchanged" in out
    assert "acme.db: fleet apply brings the same fleet back" in out
    assert [line.split()[:3] for line in out.partition("RECAP\n")[2].splitlines()] == [
        [name, ":", "changed"] for name in NAMES
    ]
    assert "fra1: leaving the fleet" in err


@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_without_a_terminal_and_yes_nothing_is_changed(fleet: Fleet, argv: tuple[str, ...]) -> None:
    fleet.results()
    state = (fleet.file.parent / ".fleet/state/acme.db").read_bytes()
    code, _, err = fleet.run("destroy", *argv)
    assert code == 1
    assert "--yes does it unasked. Nothing was changed." in err
    assert fleet.revisions() == dict.fromkeys(NAMES, 1)
    assert (fleet.file.parent / ".fleet/state/acme.db").read_bytes() == state


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    fleet.results()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    found, out, _ = fleet.run("destroy")
    assert found == code
    assert "Take the fleet off 3 hosts?" in out
    assert releases(fleet) == {None} if code == 0 else None not in releases(fleet)


def test_some_hosts(fleet: Fleet) -> None:
    fleet.results()
    code, out, _ = fleet.run("destroy", "--limit", "oslo", "--yes")
    assert code == 0
    assert "still in the inventory: oslo" in out
    assert fleet.revisions() == {"fra1": 1, "sgp1": 1, "oslo": None}
    assert fleet.results() == {"fra1": "unchanged", "sgp1": "unchanged", "oslo": "changed"}


def test_a_host_out_of_reach_is_named_and_done_later(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["sgp1"].dead = True
    code, out, _ = fleet.run("destroy", "--yes")
    assert code == 1
    assert "unreachable sgp1: it does not answer" in out
    assert "run the same again" in out
    assert fleet.revisions() == {"fra1": None, "sgp1": 1, "oslo": None}
    fleet.hosts["sgp1"].dead = False
    assert destroyed(fleet) == {"fra1": "unchanged", "sgp1": "changed", "oslo": "unchanged"}


def test_a_host_that_fails_is_gone_on_with_by_the_same_revision(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["oslo"].breaks = "wg0 is busy"
    hosts = fleet.json("destroy", "--yes", code=1)["hosts"]
    assert hosts["oslo"] == {"result": "failed", "changes": [], "error": "oslo: wg0 is busy"}
    fleet.hosts["oslo"].breaks = None
    assert destroyed(fleet) == {"fra1": "unchanged", "sgp1": "unchanged", "oslo": "changed"}


def test_another_fleet_of_the_host_keeps_the_agent(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["fra1"].others = (OtherFleet("beta", 1),)
    _, out, _ = fleet.run("destroy", "--yes")
    assert "fra1: beta stays on it, and the agent with it" in out
    assert fleet.hosts["fra1"].release is not None
    assert fleet.revisions() == NOTHING
    assert destroyed(fleet) == all_are("unchanged")


def test_a_dead_agent_is_replaced_to_undo_what_it_did(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["fra1"].silent = True
    fleet.forget_commands()
    assert destroyed(fleet) == all_are("changed")
    assert fleet.hosts["fra1"].commands == ["look", "install", "report", "remove"]


@pytest.mark.parametrize("ours", [True, False])
def test_an_interface_that_no_agent_knows_of(fleet: Fleet, ours: bool) -> None:
    """It is this fleet's where it has its key."""
    fleet.results()
    host = fleet.hosts["fra1"]
    assert host.bundle is not None
    host.interface = host.bundle.interfaces[0].public_key if ours else "somebody's"
    host.bundle = None
    fleet.forget_commands()
    code, out, _ = fleet.run("destroy", "--yes")
    if ours:
        assert code == 0
        assert host.commands == ["look", "report", "show", "apply", "remove"]
        assert host.interface is None
    else:
        assert host.commands[:3] == ["look", "report", "show"]
        assert "apply" not in host.commands
        assert "fra1: its wg0 does not have this fleet's key, and stays" in out
        assert host.interface is not None


def test_who_left_the_inventory_is_named(fleet: Fleet) -> None:
    fleet.results()
    fleet.write(names=NAMES[:2])
    _, out, _ = fleet.run("destroy", "--yes")
    assert "not in the inventory any more, but once applied: oslo" in out
    assert fleet.revisions() == {"fra1": None, "sgp1": None, "oslo": 1}
    fleet.write()
    assert destroyed(fleet) == {"fra1": "unchanged", "sgp1": "unchanged", "oslo": "changed"}
    fleet.write(names=NAMES[:2])
    assert "once applied" not in fleet.run("destroy", "--yes")[1]


def test_without_its_state_no_host_is_touched(fleet: Fleet) -> None:
    fleet.results()
    (fleet.file.parent / ".fleet/state/acme.db").unlink()
    code, _, err = fleet.run("destroy", "--yes")
    assert code == 1
    assert "fleet apply --adopt" in err
    assert None not in releases(fleet)


def test_hosts_of_another_fleet_of_that_name_are_refused(fleet: Fleet) -> None:
    fleet.results()
    state = fleet.file.parent / ".fleet/state/acme.db"
    old = state.read_bytes()
    assert fleet.run("apply", "--new-fleet", "--yes")[0] == 0
    state.write_bytes(old)
    code, _, err = fleet.run("destroy", "--yes")
    assert code == 1
    assert "belong to a fleet that this state does not know" in err
    assert "fleet apply --adopt" in err
    assert None not in releases(fleet)


def through(fleet: Fleet, **more: Any) -> None:
    """oslo is reached by an address within the fleet."""
    document = json.loads(fleet.file.read_text())
    document["all"]["hosts"]["oslo"]["ansible_host"] = "10.77.0.3"
    document["all"]["hosts"]["oslo"]["fleet_nat"] = True
    fleet.file.write_text(json.dumps(document))


def test_whose_way_leads_through_the_fleet_goes_first(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    through(fleet)
    fleet.results()
    order: list[str] = []
    for name, host in fleet.hosts.items():
        host.before_apply = lambda name=name: order.append(name)  # type: ignore[misc]
    _, out, err = fleet.run("destroy", "--yes")
    assert "the way to oslo leads through the fleet: they go first" in out, err
    assert order[0] == "oslo"
    assert releases(fleet) == {None}


def test_whose_way_is_gone_with_the_fleet_is_believed(fleet: Fleet) -> None:
    through(fleet)
    fleet.results()

    def cut_off() -> None:
        raise TransportError("oslo", "failed", "a command did not end within 30 s")

    fleet.hosts["oslo"].before_apply = cut_off
    code, out, _ = fleet.run("destroy", "--yes")
    assert code == 0
    assert "oslo: the way to it led through the fleet and is gone: it finishes by itself" in out


def test_who_may_carry_others_waits_for_them(fleet: Fleet) -> None:
    through(fleet)
    fleet.results()
    fleet.hosts["oslo"].dead = True
    code, out, _ = fleet.run("destroy", "--yes")
    assert code == 1
    assert "fra1: left as it is, for the way to oslo leads through the fleet" in out
    assert None not in releases(fleet)
    code, out, _ = fleet.run("destroy", "--yes", "--limit", "all:!oslo")
    assert code == 0
    assert "may be out of reach after this" in out
    assert fleet.revisions() == {"fra1": None, "sgp1": None, "oslo": 1}


def test_interrupted_it_begins_no_more(fleet: Fleet) -> None:
    fleet.results()
    heard, tell = threading.Event(), view.interrupted

    def told() -> None:
        tell()
        heard.set()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(60)

    fleet.patch.setattr(view, "interrupted", told)
    fleet.hosts["fra1"].before_apply = interrupt
    hosts = fleet.json("destroy", "--yes", "--forks", "1", code=130)["hosts"]
    assert hosts["fra1"]["result"] == "changed"
    assert hosts["oslo"]["result"] == "skipped"
    fleet.hosts["fra1"].before_apply = lambda: None
    assert destroyed(fleet)["oslo"] == "changed"


def test_the_state_is_saved_before_the_first_host_is_touched(fleet: Fleet) -> None:
    """Or an apply after a crash would be refused, being older than what the hosts have."""
    fleet.results()
    state = fleet.file.parent / ".fleet/state/acme.db"
    before, during = state.read_bytes(), []
    for host in fleet.hosts.values():
        host.before_apply = lambda: during.append(Path(state).read_bytes())
    destroyed(fleet)
    assert during
    assert before not in during
