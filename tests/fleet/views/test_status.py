"""How status looks, to people and to programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.report import Link, Observed, ObservedInterface
from fleet.rollout.outcome import HostStatus
from fleet.views import console, status
from tests.fleet.rollout.made import bundle, report

LINKS = (
    Link("wg0", "oslo", "up", 65, "192.0.2.9:51820", 2048, 1),
    Link("wg0", "lima", "down", None, None, 0, 0),
)


def found() -> list[HostStatus]:
    up = HostStatus(
        "fra1",
        True,
        report(bundle(), links=LINKS, restarts={"wg0": 2}, problems=("oslo has no address",)),
        None,
        "auto: its kernel has no WireGuard",
    )
    return [
        up,
        HostStatus("nyc1", False, None, "nyc1: no route [bold]"),
        HostStatus("new", True, None, "new: no agent"),
    ]


@pytest.fixture(autouse=True)
def fresh_consoles() -> None:
    console.out.cache_clear()
    console.err.cache_clear()


def test_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    status.show_json(found())
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert list(document["hosts"]) == ["fra1", "nyc1", "new"]
    fra1 = document["hosts"]["fra1"]
    assert (fra1["reachable"], fra1["backend"], fra1["revision"], fra1["error"]) == (
        True,
        "userspace",
        3,
        None,
    )
    assert fra1["backend_reason"] == "auto: its kernel has no WireGuard"
    assert fra1["peers"]["oslo"] == {
        "state": "up",
        "latest_handshake_seconds": 65,
        "endpoint": "192.0.2.9:51820",
        "rx_bytes": 2048,
        "tx_bytes": 1,
    }
    assert fra1["peers"]["lima"]["latest_handshake_seconds"] is None
    nyc1 = document["hosts"]["nyc1"]
    assert (nyc1["reachable"], nyc1["backend"], nyc1["revision"], nyc1["peers"]) == (False, None, None, {})
    assert document["hosts"]["new"]["reachable"] is True


def test_people_see_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    status.show("acme", found())
    said = capsys.readouterr()
    for text in (
        "fleet acme",
        "1/2",
        "1 m 5 s ago",
        "2.00 KiB",
        "never",
        "(calls us)",
        "restarted 2 x",
        "auto: its",
    ):
        assert text in said.out
    assert said.out.splitlines()[5:8] == [
        "fra1: oslo has no address",
        "nyc1: no route [bold]",
        "new: no agent",
    ]
    assert "USERSPACE WIREGUARD on fra1" in said.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (0, "now"), (59, "59 s ago"), (3661, "1 h 1 m ago"), (90000, "1 d 1 h ago")],
)
def test_ages(seconds: int | None, text: str) -> None:
    assert status.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (5 << 40, "5.00 TiB"), (5 << 50, "5120.00 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert status.size(count) == text


def test_a_namespace_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    seen = ObservedInterface("wg0", "kernel", True, 1420, netns="web")
    placed = [HostStatus("fra1", True, replace(report(bundle()), observed=Observed((seen,))), None)]
    status.show("acme", placed)
    assert "in namespace web" in capsys.readouterr().out
    status.show_json(placed)
    assert json.loads(capsys.readouterr().out)["hosts"]["fra1"]["namespaces"] == ["web"]
