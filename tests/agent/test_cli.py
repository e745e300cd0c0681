"""`fleet-agent` and its words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agent import cli, client, places
from agent.resident import supervise


@pytest.mark.parametrize("words", [["help"], ["-h"], ["--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    for command in ("report", "apply", "secrets", "service", "supervise", "tunnel", "version"):
        assert f"\n  {command} " in out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["reprot"],
        ["report", "--prob"],
        ["report", "--probe", "--probe"],
        ["apply", "file"],
        ["secrets", "--all"],
        ["secrets", "--probe"],
        ["report", "--fleet"],
        ["supervise", "--restart", "--stop"],
        ["tunnel"],
        ["tunnel", "--mtu"],
        ["tunnel", "wg0", "--mtu"],
        ["tunnel", "wg0", "--mtu", "big"],
        ["tunnel", "wg0", "wg1"],
        ["tunnel", "--log-stdout"],
        ["tunnel", "wg0", "--log-stdout", "--mtu", "1400"],
    ],
)
def test_what_is_not_a_command_is_usage_and_exit_code_1(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert "usage: fleet-agent COMMAND" in found.err


@pytest.mark.parametrize(
    ("words", "module", "name", "arguments"),
    [
        (["report"], client, "report", (False, [])),
        (["report", "--probe"], client, "report", (True, [])),
        (["report", "--fleet", "acme", "--probe", "--fleet", "ab"], client, "report", (True, ["acme", "ab"])),
        (["apply"], client, "apply", (False,)),
        (["apply", "--replace-fleet"], client, "apply", (True,)),
        (["secrets"], client, "secrets", ([],)),
        (["secrets", "--fleet", "acme"], client, "secrets", (["acme"],)),
        (["supervise", "--foreground"], supervise, "foreground", ()),
        (["supervise", "--stop"], supervise, "stop", ()),
    ],
)
def test_commands(
    words: list[str],
    module: object,
    name: str,
    arguments: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def command(*given: object) -> int:
        seen.append(given)
        return 7

    monkeypatch.setattr(module, name, command)
    assert cli.main(words) == 7
    assert seen == [arguments]


@pytest.mark.parametrize(("words", "restart"), [(["supervise"], False), (["supervise", "--restart"], True)])
def test_supervise(words: list[str], restart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def start(restart: bool) -> int:
        seen.append(restart)
        return 0

    monkeypatch.setattr(supervise, "start", start)
    assert cli.main(words) == 0
    assert seen == [restart]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert "0" * 64 in capsys.readouterr().out


def test_as_a_program() -> None:
    done = subprocess.run([*places.program(), "version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("fleet-agent, release ")
    done = subprocess.run([sys.executable, "-m", "agent.cli", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 1
