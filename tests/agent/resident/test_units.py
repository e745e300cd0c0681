"""Tunnels as units of systemd, with a systemd of our own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.resident.units import TunnelUnit, unit_name


@pytest.mark.parametrize(
    ("interface", "unit"),
    [
        ("wg0", "fleet-tunnel@wg0.service"),
        ("wg-home", r"fleet-tunnel@wg\x2dhome.service"),
        ("a.b=c+d_e", r"fleet-tunnel@a\x2eb\x3dc\x2bd_e.service"),
    ],
)
def test_names_are_escaped(interface: str, unit: str) -> None:
    assert unit_name(interface) == unit


class Systemd:
    """`fails`: what a start that fails says; `shown`: properties."""

    def __init__(self, fails: str = "", **shown: str) -> None:
        self.fails = fails
        self.shown = shown
        self.asked: list[str] = []

    def __call__(self, words: Sequence[str]) -> tuple[int, str]:
        self.asked.append(" ".join(words))
        if words[0] == "show":
            return 0, self.shown.get(words[3], "") + "\n"
        return (1, self.fails) if words[0] == "start" and self.fails else (0, "")


def test_a_tunnel_that_runs() -> None:
    systemd = Systemd(MainPID="77")
    unit = TunnelUnit("wg0", systemd)
    assert (unit.poll(), unit.stderr, unit.pid) == (None, None, 77)
    assert unit.wait(1) == 0
    assert systemd.asked[-1] == "stop fleet-tunnel@wg0.service"
    unit.terminate()
    assert systemd.asked[0] == "start fleet-tunnel@wg0.service"
    assert systemd.asked[-1] == "stop --no-block fleet-tunnel@wg0.service"


@pytest.mark.parametrize(("status", "said"), [("port 7 is taken", "port 7 is taken"), ("", "Job failed.")])
def test_a_tunnel_that_could_not_start_says_why(status: str, said: str) -> None:
    systemd = Systemd(fails="Job failed.", StatusText=status)
    unit = TunnelUnit("wg0", systemd)
    assert unit.poll() == 1
    assert unit.stderr is not None
    with unit.stderr as stream:
        assert stream.read().decode() == said
    assert "reset-failed fleet-tunnel@wg0.service" in systemd.asked
    assert unit.pid == 0
