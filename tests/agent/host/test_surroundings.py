"""What each network namespace has of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import netns
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.surroundings import Surroundings


@pytest.fixture
def spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "netns"
    folder.mkdir()
    monkeypatch.setattr(netns, "FOLDER", folder)
    return folder


def test_what_was_switched_on_in_a_namespace_is_forgotten_with_it(spaces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    around = Surroundings(Forwarding(run=run), Firewall(run), run / "netns")
    (spaces / "blue").touch()
    memory = run / "netns" / "blue" / "forwarding"
    memory.parent.mkdir(parents=True)
    memory.write_text("ipv4/ip_forward=0\n")
    assert around.forwards_for_us(["blue"])
    (spaces / "new").touch()
    (spaces / "new").replace(spaces / "blue")  # another one by that name, before anybody looked
    assert not around.forwards_for_us(["blue"])
    assert not memory.exists()
    memory.parent.mkdir()
    memory.write_text("ipv4/ip_forward=0\n")
    (spaces / "blue").unlink()
    assert not around.forwards_for_us(["blue"])
    assert not memory.exists()
