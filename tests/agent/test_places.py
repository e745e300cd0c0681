"""How the agent finds its own release and starts itself anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent import places


def test_an_installed_agent_starts_what_is_installed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_root", lambda: "/opt/fleet-agent/releases/" + "a" * 64)
    assert places.program() == ["/opt/fleet-agent/current/bin/fleet-agent"]


def test_another_starts_itself() -> None:
    assert places.program() == [sys.executable, "-m", "agent.cli"]


def test_the_release_is_what_its_installer_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_root", lambda: str(tmp_path))
    assert places.release() == "0" * 64
    (tmp_path / "RELEASE").write_text("b" * 64 + "\n")
    assert places.release() == "b" * 64
    (tmp_path / "RELEASE").write_text("")
    assert places.release() == "0" * 64
