"""How a host is made to start the agent at boot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent import places
from agent.places import PROGRAM
from fleet.delivery.onhost import boot

ONHOST = Path(boot.__file__).parent
UNIT = (ONHOST / places.UNIT).read_text()
LINE = "/opt/fleet-agent/current/bin/fleet-agent supervise\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("#!/bin/sh\nexit 0\n", f"#!/bin/sh\n{LINE}exit 0\n"),
        ("#!/bin/sh -e\nfoo\n\nexit 0\n\n", f"#!/bin/sh -e\nfoo\n\n{LINE}exit 0\n\n"),
        ("#!/bin/sh\nexit", f"#!/bin/sh\n{LINE}exit\n"),
        ("#!/bin/sh\nfoo", f"#!/bin/sh\nfoo\n{LINE}"),
        ("#!/bin/sh\nif x; then\n  exit 0\nfi\nfoo\n", f"#!/bin/sh\nif x; then\n  exit 0\nfi\nfoo\n{LINE}"),
        ("", f"#!/bin/sh\n{LINE}"),
    ],
)
def test_rc_local_starts_the_agent_before_it_ends(before: str, after: str) -> None:
    assert boot.with_line(before) == after
    assert boot.with_line(after) == after


def test_rc_local_is_edited_in_place(tmp_path: Path) -> None:
    file = tmp_path / "rc.local"
    file.write_text("#!/bin/sh\nexit 0\n")
    file.chmod(0o644)
    inode = file.stat().st_ino
    for _ in range(2):
        boot.edit_rc_local(file, tmp_path / "state/before.json")
        assert file.read_text() == f"#!/bin/sh\n{LINE}exit 0\n"
        assert file.stat().st_ino == inode
        assert os.access(file, os.X_OK)


def test_files_are_written_only_when_they_differ(tmp_path: Path) -> None:
    file = tmp_path / "fleet-agent.service"
    assert boot.write(file, UNIT, 0o644)
    assert not boot.write(file, UNIT, 0o644)
    file.chmod(0o600)
    assert boot.write(file, UNIT, 0o644)
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["fleet-agent.service"]


def test_the_agents_unit() -> None:
    assert "Type=notify\n" in UNIT
    assert "Restart=always\n" in UNIT
    assert "StartLimitIntervalSec=0\n" in UNIT  # or systemd gives up after five ends within 10 s
    assert f"ExecStart={PROGRAM} service\n" in UNIT
    assert "WantedBy=multi-user.target\n" in UNIT


def test_nobody_but_the_agent_starts_a_tunnels_unit() -> None:
    text = (ONHOST / places.TUNNEL_UNIT).read_text()
    assert f"ExecStart={PROGRAM} tunnel %I\n" in text
    assert "Restart=no\n" in text
    assert "StartLimitIntervalSec=0\n" in text
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BROADCAST CAP_NET_BIND_SERVICE\n" in text
    assert "[Install]" not in text


@pytest.mark.parametrize("name", places.PUT["units"])
def test_units_do_without_what_they_do_not_need(name: str) -> None:
    lines = (ONHOST / name).read_text().splitlines()
    assert {
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "LimitCORE=0",
    } <= set(lines)
    entered = "net" if name == places.UNIT else "yes"  # by the agent alone: what a container has inside
    assert f"RestrictNamespaces={entered}" in lines
    (capabilities,) = [line for line in lines if line.startswith("CapabilityBoundingSet=")]
    assert not {"CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SYS_MODULE"} & set(capabilities.split("=")[1].split())


@pytest.mark.parametrize(
    ("kind", "files", "commands"),
    [
        (
            "systemd",
            ["/etc/systemd/system/fleet-agent.service", "/etc/systemd/system/fleet-tunnel@.service"],
            [
                f"systemctl {words}"
                for words in (
                    "daemon-reload",
                    "enable --quiet fleet-agent.service",
                    "restart fleet-agent.service",
                )
            ],
        ),
        (
            "openrc",
            ["/etc/local.d/fleet-agent.start"],
            ["rc-update --quiet add local default", f"{PROGRAM} supervise --restart"],
        ),
        ("cron", ["/etc/cron.d/fleet-agent"], [f"{PROGRAM} supervise --restart"]),
        ("none", [], [f"{PROGRAM} supervise --restart"]),
    ],
)
def test_what_starts_things_starts_the_agent(
    kind: str,
    files: list[str],
    commands: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: list[str] = []
    ran: list[str] = []

    def write(file: Path, _text: str, _mode: int) -> bool:
        written.append(str(file))
        return True

    monkeypatch.setattr(boot, "write", write)
    monkeypatch.setattr(boot, "note", lambda *_: None)
    monkeypatch.setattr(boot, "_run", lambda *argv: ran.append(" ".join(argv)))
    monkeypatch.setattr(boot, "answers", lambda: True)
    boot.main(kind)
    assert (written, ran) == (files, commands)
    assert ("reboot" in capsys.readouterr().out) == (kind == "none")


def test_an_agent_that_does_not_come_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "_run", lambda *_: None)
    monkeypatch.setattr(boot, "answers", lambda: False)
    monkeypatch.setattr(boot, "SECONDS", 0.0)
    with pytest.raises(SystemExit, match=r"no answer within 0 s: look at its log"):
        boot.main("none")


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(SystemExit, match="sh -c echo one >&2; exit 3: one"):
        boot._run("/bin/sh", "-c", "echo one >&2; exit 3")


def test_what_others_had_is_written_down_once(tmp_path: Path) -> None:
    file, memory = tmp_path / "rc.local", tmp_path / "state/before.json"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o644)
    for _ in range(2):
        boot.edit_rc_local(file, memory)
    boot.note("rc-update", "x", memory)
    assert json.loads(memory.read_text()) == {
        "/etc/rc.local": {"text": "#!/bin/sh\n", "mode": 0o644},
        "rc-update": "x",
    }
    assert memory.stat().st_mode & 0o777 == 0o600
    assert memory.parent.stat().st_mode & 0o777 == 0o700


def test_it_finds_the_agents_places_in_a_release(tmp_path: Path) -> None:
    """Started as on a host: isolated, nothing of this project within reach."""
    (tmp_path / "setup").mkdir()
    (tmp_path / "agent").mkdir()
    shutil.copy(boot.__file__, tmp_path / "setup/boot.py")
    text = Path(places.__file__).read_text().replace('"/opt/fleet-agent"', f'"{tmp_path}/none"')
    (tmp_path / "agent/places.py").write_text(text)
    (tmp_path / "agent/__init__.py").touch()
    command = [sys.executable, "-I", str(tmp_path / "setup/boot.py"), "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"{tmp_path}/none/current/bin/fleet-agent: No such file or directory\n"
