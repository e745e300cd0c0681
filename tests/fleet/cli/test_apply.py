"""`fleet apply` from the command line to simulated hosts and back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from agent.report import OtherFleet
from fleet.delivery.manifest import Manifest
from fleet.views import apply as view
from tests.fleet.cli.simulated import NAMES, Fleet

EVERYONE = dict.fromkeys(NAMES)


def all_are(result: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, result)


def state(fleet: Fleet) -> Path:
    return fleet.file.parent / ".fleet" / "state"


def test_from_nothing_to_a_fleet_and_again_nothing_to_do(fleet: Fleet) -> None:
    assert fleet.results() == all_are("changed")
    assert fleet.revisions() == dict.fromkeys(NAMES, 1)
    for host in fleet.hosts.values():
        assert host.commands == ["install", "apply", "report"]
    fleet.forget_commands()
    assert fleet.results() == all_are("unchanged")
    assert all(host.commands == [] for host in fleet.hosts.values())


def test_people_see_what_is_done(fleet: Fleet) -> None:
    code, out, err = fleet.run("apply", "--yes")
    assert code == 0
    assert "+ fra1  new: the agent, wg0 10.77.0.1/32, 2 peers, " in out
    assert "3 to change, 0 unchanged" in out
    assert [line.split()[:3] for line in out.partition("RECAP\n")[2].splitlines()] == [
        [name, ":", "changed"] for name in NAMES
    ]
    assert "fra1: installing the agent" in err
    assert "USERSPACE WIREGUARD on fra1, sgp1, oslo" in err
    code, out, err = fleet.run("apply", "--yes")
    assert (code, out.count(": unchanged")) == (0, 3)
    assert "USERSPACE" in err


def test_a_changed_bundle_is_one_command_a_host(fleet: Fleet) -> None:
    fleet.results()
    fleet.forget_commands()
    fleet.write(port=51999)
    assert fleet.results() == all_are("changed")
    assert all(host.commands == ["apply", "report"] for host in fleet.hosts.values())
    assert fleet.revisions() == dict.fromkeys(NAMES, 2)


@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_without_a_terminal_and_yes_nothing_is_written(fleet: Fleet, argv: tuple[str, ...]) -> None:
    code, out, err = fleet.run("apply", *argv)
    assert code == 1
    assert "--yes" in err
    assert "Nothing was written" in err
    assert (out == "") == bool(argv)
    assert fleet.revisions() == EVERYONE
    assert [file.name for file in state(fleet).iterdir()] == ["acme.db.lock"]
    assert not (Path(os.environ["HOME"]) / ".config").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    found, _, err = fleet.run("apply")
    assert found == code
    assert ("Nothing was written" in err) == bool(code)
    assert fleet.revisions() == (EVERYONE if code else dict.fromkeys(NAMES, 1))


def test_the_limit_restricts_what_is_written_and_not_what_is_known(fleet: Fleet) -> None:
    assert fleet.results("--limit", "fra1") == {"fra1": "changed", "sgp1": "skipped", "oslo": "skipped"}
    held = fleet.hosts["fra1"].bundle
    assert held is not None
    assert {peer.name for peer in held.interfaces[0].peers} == {"sgp1", "oslo"}
    assert fleet.revisions() == {"fra1": 1, "sgp1": None, "oslo": None}
    code, out, _ = fleet.run("apply", "--yes", "--limit", "fra1")
    assert code == 0
    assert "outside of --limit, and not as they should be: sgp1, oslo" in out
    assert fleet.results() == {"fra1": "unchanged", "sgp1": "changed", "oslo": "changed"}
    assert fleet.results() == all_are("unchanged")


def test_a_limit_that_matches_nothing(fleet: Fleet) -> None:
    code, out, err = fleet.run("apply", "--yes", "--limit", "nobody")
    assert (code, out) == (1, "")
    assert "nobody" in err


def test_a_dead_host_fails_alone_and_keeps_its_place(fleet: Fleet) -> None:
    fleet.hosts["sgp1"].dead = True
    document = fleet.json("apply", "--yes", code=1)
    assert document["ok"] is False
    assert document["hosts"]["sgp1"] == {
        "result": "unreachable",
        "changes": [],
        "error": "sgp1: it does not answer: is it up?",
    }
    held = fleet.hosts["fra1"].bundle
    assert held is not None
    assert {peer.name for peer in held.interfaces[0].peers} == {"sgp1", "oslo"}
    fleet.hosts["sgp1"].dead = False
    assert fleet.results() == {"fra1": "unchanged", "sgp1": "changed", "oslo": "unchanged"}


def test_an_agent_that_refuses_fails_alone(fleet: Fleet) -> None:
    fleet.hosts["oslo"].breaks = "the disk is full"
    document = fleet.json("apply", "--yes", code=1)
    assert document["hosts"]["oslo"]["result"] == "failed"
    assert document["hosts"]["oslo"]["error"] == "oslo: the disk is full"
    assert [change["layer"] for change in document["hosts"]["oslo"]["changes"]] == ["runtime"]
    assert document["hosts"]["fra1"]["result"] == "changed"
    fleet.hosts["oslo"].breaks = None
    assert fleet.results() == {"fra1": "unchanged", "sgp1": "unchanged", "oslo": "changed"}


def test_the_state_is_saved_before_anything_is_delivered(fleet: Fleet) -> None:
    seen: list[bool] = []
    fleet.hosts["fra1"].before_apply = lambda: seen.append((state(fleet) / "acme.db").stat().st_size > 0)
    fleet.results()
    assert seen == [True]


def test_two_at_once(fleet: Fleet) -> None:
    from fleet.intent import load
    from fleet.state.store import Store, state_place

    with Store(state_place(load(fleet.file))).lock("fleet apply of somebody else"):
        code, out, err = fleet.run("apply", "--yes", "--json")
    assert (code, out) == (1, "")
    assert "fleet apply of somebody else" in err
    assert fleet.revisions() == EVERYONE


def test_a_lost_state_is_refused_until_it_is_taken_over(fleet: Fleet) -> None:
    fleet.results()
    before = {name: host.bundle for name, host in fleet.hosts.items()}
    shutil.rmtree(state(fleet))
    fleet.forget_commands()
    code, out, err = fleet.run("apply", "--yes", "--json")
    assert (code, out) == (1, "")
    assert "Nothing was changed" in err
    assert "--adopt" in err
    assert all(host.commands == [] for host in fleet.hosts.values())
    assert set(fleet.results("--adopt").values()) <= {"changed", "unchanged"}
    for name, host in fleet.hosts.items():
        held, old = host.bundle, before[name]
        assert held is not None
        assert old is not None
        assert held.fleet == old.fleet
        assert held.interfaces[0].public_key == old.interfaces[0].public_key
        assert held.interfaces[0].addresses == old.interfaces[0].addresses
        assert held.revision >= old.revision
    assert fleet.results() == all_are("unchanged")


def test_a_new_fleet_in_the_place_of_another(fleet: Fleet) -> None:
    fleet.results()
    before = {name: host.bundle for name, host in fleet.hosts.items()}
    shutil.rmtree(state(fleet))
    assert fleet.results("--new-fleet") == all_are("changed")
    for name, host in fleet.hosts.items():
        held, old = host.bundle, before[name]
        assert held is not None
        assert old is not None
        assert held.fleet != old.fleet
        assert held.interfaces[0].public_key != old.interfaces[0].public_key
    assert fleet.results() == all_are("unchanged")


def test_both_ways_out_at_once(fleet: Fleet) -> None:
    code, _, err = fleet.run("apply", "--yes", "--adopt", "--new-fleet")
    assert code == 1
    assert "exclude each other" in err


def test_nothing_to_adopt(fleet: Fleet) -> None:
    code, _, err = fleet.run("apply", "--yes", "--adopt")
    assert code == 1
    assert "nothing to adopt" in err


def test_hosts_of_other_fleets_are_not_adopted(fleet: Fleet) -> None:
    fleet.results()
    for host in fleet.hosts.values():
        host.bundle, host.others = None, (OtherFleet("beta", 1),)
    _, _, err = fleet.run("apply", "--adopt", "--yes")
    assert "no host that answers belongs to a fleet acme; there are beta: is fleet.name right?" in err


def test_a_host_of_another_fleet_joins_and_its_operator_is_told(fleet: Fleet) -> None:
    fleet.hosts["oslo"].release = "ab" * 32
    fleet.hosts["oslo"].others = (OtherFleet("beta", 1),)
    code, out, _ = fleet.run("apply", "--yes")
    assert code == 0
    assert "note: oslo: it is in beta too, which stays as it is" in out
    assert fleet.hosts["oslo"].commands[:2] == ["install", "apply"]
    assert "it is in beta" not in fleet.run("apply", "--yes")[1]


def test_a_newer_agent_of_another_fleet_stays(fleet: Fleet) -> None:
    oslo = fleet.hosts["oslo"]
    oslo.release, oslo.others = "ab" * 32, (OtherFleet("beta", 7),)
    oslo.manifest = Manifest("99.0", (1, 7), userspace=True)
    code, out, _ = fleet.run("apply", "--yes")
    assert code == 0, out
    assert re.search(r"oslo: its agent, of fleet 99.0, is newer than this one's \(.*\) and\s+stays", out)
    assert oslo.commands == ["apply", "report"]
    oslo.manifest = Manifest("99.0", (7,), userspace=True)
    failed = fleet.json("apply", "--yes", code=1)["hosts"]["oslo"]
    assert "does not speak bundles of version 1; apply with fleet 99.0 or newer" in failed["error"]


def test_a_state_older_than_the_fleet_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.results()
    shutil.copytree(state(fleet), tmp_path / "backup")
    fleet.write(port=51999)
    fleet.results()
    shutil.rmtree(state(fleet))
    shutil.copytree(tmp_path / "backup", state(fleet))
    code, out, err = fleet.run("apply", "--yes", "--json")
    assert (code, out) == (1, "")
    assert "older than the fleet" in err
    assert fleet.revisions() == dict.fromkeys(NAMES, 2)


def test_a_host_that_left_is_named_and_leaves_its_peers(fleet: Fleet) -> None:
    fleet.results()
    fleet.write(("fra1", "sgp1"))
    code, out, _ = fleet.run("apply", "--yes")
    assert code == 0
    assert "not in the inventory any more: oslo" in out
    assert "- peer       wg0 peer oslo" in out
    held = fleet.hosts["fra1"].bundle
    assert held is not None
    assert [peer.name for peer in held.interfaces[0].peers] == ["sgp1"]


def test_a_host_that_answers_as_another_is_refused_before_anything_is_written(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["oslo"].bundle = fleet.hosts["sgp1"].bundle
    fleet.write(port=51999)
    code, out, err = fleet.run("apply", "--yes")
    assert (code, out) == (1, "")
    assert "oslo says that it is sgp1" in err
    assert "ansible_host" in err
    assert "Nothing was changed" in err
    assert fleet.revisions() == dict.fromkeys(NAMES, 1)


def test_a_renamed_host_is_taken_over_under_its_new_name(fleet: Fleet) -> None:
    fleet.results()
    before = fleet.hosts["oslo"].bundle
    fleet.hosts["bergen"] = fleet.hosts.pop("oslo")
    fleet.hosts["bergen"].name = "bergen"
    fleet.write(("fra1", "sgp1", "bergen"))
    code, out, _ = fleet.run("apply", "--yes")
    assert code == 0
    assert "note: bergen was oslo until now" in out
    after = fleet.hosts["bergen"].bundle
    assert before is not None
    assert after is not None
    assert after.host == "bergen"
    assert after.interfaces[0].public_key != before.interfaces[0].public_key
    assert set(fleet.results().values()) == {"unchanged"}


def test_an_interrupt_says_what_was_done(fleet: Fleet) -> None:
    heard, tell = threading.Event(), view.interrupted

    def told() -> None:
        tell()
        heard.set()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(60)

    fleet.patch.setattr(view, "interrupted", told)
    fleet.hosts["fra1"].before_apply = interrupt
    code, out, err = fleet.run("apply", "--yes", "--forks", "1")
    assert code == 130
    assert "interrupted: finishing" in err
    recap = {line.split()[0]: line.split()[2] for line in out.partition("RECAP\n")[2].splitlines()}
    assert recap["fra1"] == "changed"
    assert recap["oslo"] == "skipped"
    assert fleet.revisions()["fra1"] == 1
    assert fleet.revisions()["oslo"] is None
    assert set(fleet.results().values()) == {"changed", "unchanged"}


def test_findings_come_before_anything_is_reached(fleet: Fleet) -> None:
    fleet.file.write_text(fleet.file.read_text().replace("pools", "polls"))
    code, out, err = fleet.run("apply", "--yes", "--json")
    assert (code, out) == (1, "")
    assert f"{fleet.file}:1:" in err
