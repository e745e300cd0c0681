"""How apply looks, to people and to programs."""

from __future__ import annotations

import json

import pytest

from agent.report import Change
from fleet.rollout.decide import Work, decide
from fleet.rollout.outcome import Outcome
from fleet.views import apply, console
from fleet.views.progress import HostProgress
from tests.fleet.rollout.made import bundle, report

CHANGES = (
    Change("peer", "wg0 peer oslo", "add", "key"),
    Change("peer", "wg0 peer lima", "add", "key"),
    Change("device", "wg0 listen port", "change", 51999, 51820),
    Change("route", "wg0 10.0.0.0/8", "remove", None, "10.0.0.0/8"),
)


@pytest.fixture(autouse=True)
def fresh_consoles() -> None:
    console.out.cache_clear()
    console.err.cache_clear()


def test_the_preview_says_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    works = [
        Work("fra1", True, True, CHANGES),
        Work("sgp1", False, False, ()),
        Work("lima", True, True, CHANGES),
    ]
    dead = Outcome("nyc1", "unreachable", error="nyc1: 192.0.2.1 port 22 does not answer")
    apply.preview("acme", works, [dead], ["something [to] know"])
    said = capsys.readouterr().out
    assert "  + peer       wg0 peer oslo, wg0 peer lima\n" in said
    assert "  ~ device     wg0 listen port: 51820 -> 51999\n" in said
    assert "  - route      wg0 10.0.0.0/8\n" in said
    assert "sgp1" not in said
    assert "fra1, lima\n" in said
    assert said.count("wg0 peer oslo") == 1
    assert "unreachable nyc1: 192.0.2.1 port 22 does not answer" in said
    assert "note: something [to] know" in said
    assert "2 to change, 1 unchanged, 1 that cannot be changed" in said


def test_a_new_host_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    new = decide(bundle(), None, None, "ab" * 32, None)
    silent = decide(bundle(), None, None, "ab" * 32, "ab" * 32)
    apply.preview("acme", [new, silent], [], [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "+ fra1  new: the agent, wg0 10.77.0.1/32, 1 peer, 1 route"
    assert lines[1] == "+ fra1  its agent does not answer: the agent, wg0 10.77.0.1/32, 1 peer, 1 route"


def test_a_firewall_table_is_shown_as_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    clamp, both = ["MSS clamp"], ["MSS clamp", "masquerade to eth0 from 10.77.0.0/16"]
    work = Work(
        "fra1",
        True,
        True,
        (
            Change("firewall", "wg0", "add", both),
            Change("firewall", "wg1", "change", both, [*clamp, "but changed by hand"]),
            Change("firewall", "wg2", "remove", None, clamp),
        ),
    )
    new = Work("sgp1", True, True, (Change("firewall", "wg0", "add", both),), known=False)
    apply.preview("acme", [work, new], [], [])
    printed = capsys.readouterr().out
    said = printed.splitlines()
    deeds = "MSS clamp, masquerade to eth0 from 10.77.0.0/16"
    assert f"no address, {deeds}" in " ".join(printed.split())
    assert f"  + firewall   wg0: {deeds}" in said
    assert f"  ~ firewall   wg1: MSS clamp, but changed by hand -> {deeds}" in said
    assert "  - firewall   wg2: MSS clamp" in said


def test_a_full_tunnel_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    deed = "everything via fra1"
    rules = [f"wg0 IPv{version} {rule}" for version in (4, 6) for rule in ("lookup main", "not fwmark 7")]
    added = (
        Change("egress", "src_valid_mark", "change", True, False),
        *(Change("egress", rule, "add", deed) for rule in rules),
    )
    removed = tuple(Change("egress", rule, "remove", None, deed) for rule in rules)
    works = [Work("oslo", True, True, added), Work("lima", True, True, removed)]
    apply.preview("acme", [*works, Work("nyc1", True, True, added, known=False)], [], [])
    printed = capsys.readouterr().out
    said = printed.splitlines()
    assert "  ~ egress     src_valid_mark: off -> on" in said
    assert said.count(f"  + egress     wg0: {deed}") == 1
    assert said.count(f"  - egress     wg0: {deed}") == 1
    assert printed.count(f"no address, {deed}") == 1


def test_many_additions_are_counted_and_removals_named(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("add", "remove"):
        changes = tuple(Change("peer", f"wg0 peer h{number}", action) for number in range(30))
        apply.preview("acme", [Work("fra1", False, True, changes)], [], [])
        said = capsys.readouterr().out
        assert ("wg0 peer h29" in said) == (action == "remove")
        assert ("and 20 more" in said) == (action == "add")


def test_what_the_preview_told_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome(name, "unreachable", error=f"{name}: gone") for name in ("fra1", "sgp1")]
    apply.recap(outcomes, [], {"fra1"})
    said = capsys.readouterr().out
    assert "fra1: gone" not in said
    assert "sgp1: gone" in said


def test_the_recap_has_a_line_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    apply.recap(
        [
            Outcome("fra1", "changed", CHANGES, report=report(bundle())),
            Outcome("sgp1", "unchanged"),
            Outcome("nyc1", "failed", error="nyc1: the disk is full"),
        ],
        ["a note"],
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["failed nyc1: the disk is full", "note: a note", "RECAP"]
    assert lines[3].split() == [
        "fra1",
        ":",
        "changed",
        "changed=4",
        "unreachable=0",
        "failed=0",
        "skipped=0",
        "revision=3",
    ]
    assert lines[4].split()[:4] == ["sgp1", ":", "unchanged", "changed=0"]
    assert "failed=1" in lines[5]


def test_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome("fra1", "changed", CHANGES[2:3]), Outcome("nyc1", "unreachable", error="nyc1: gone")]
    apply.recap_json(False, outcomes)
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "ok": False,
        "hosts": {
            "fra1": {
                "result": "changed",
                "changes": [
                    {
                        "layer": "device",
                        "item": "wg0 listen port",
                        "action": "change",
                        "expected": 51999,
                        "actual": 51820,
                    }
                ],
                "error": None,
            },
            "nyc1": {"result": "unreachable", "changes": [], "error": "nyc1: gone"},
        },
    }


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, lines in ((False, True), (True, True), (False, False)):
        with HostProgress("applying", 1, quiet, lines) as progress:
            progress.event("fra1", f"{quiet} {lines}")
            progress.done("fra1")
    said = capsys.readouterr()
    assert said.err == "fra1: False True\n"
    assert said.out == ""


def test_progress_names_the_host_that_takes_longest() -> None:
    with HostProgress("applying", 2, quiet=True) as progress:
        progress.event("fra1", "connecting")
        progress.event("sgp1", "connecting")
        assert progress.text == "fra1: connecting"
        progress.done("fra1")
        assert progress.text == "sgp1: connecting"
        progress.done("sgp1")
        assert progress.text == "applying"


def test_nobody_is_warned_without_reason(capsys: pytest.CaptureFixture[str]) -> None:
    apply.warn_userspace([])
    assert capsys.readouterr().err == ""
