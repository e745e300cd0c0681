"""The command line of `up`, `down`, `save` and `strip`: what it finds, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import cli
from agent.netns import Place
from agent.quick import routing
from agent.quick import run as module
from agent.quick.programs import Programs
from agent.quick.routing import table_number
from agent.resident import claims
from agent.resident.claims import claimant
from agent.resident.store import Contents, Store, StoreError
from tests.agent import samples
from tests.agent.quick.corpus import GOOD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/wireguard, and is where we are."""
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o700)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_name_is_a_file_of_etc_wireguard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "wg0.conf").write_text("[Interface]\nMTU = 1400\nListenPort = 1\n")
    for word in ("wg0", "./wg0.conf", str(folder / "wg0.conf")):
        assert cli.main(["strip", word]) == 0
        assert capsys.readouterr() == ("[Interface]\nListenPort = 1\n\n", "")


def test_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["strip", "wg0.conf"]) == 1
    assert said(capsys) == f"fleet-agent: `{folder}/wg0.conf.conf' does not exist\n"
    (folder / "wg0.conf").touch()
    assert cli.main(["strip", "wg0.conf"]) == 1
    assert said(capsys) == (
        f"fleet-agent: `{folder}/wg0.conf.conf' does not exist: for the file here, write ./wg0.conf\n"
    )


def test_who_may_read_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody who may not enter its folder; a link to it opens no door."""
    inner = folder / "inner"
    inner.mkdir(mode=0o700)
    (inner / "wg0.conf").write_text("")
    (inner / "wg0.conf").chmod(0o644)
    (folder / "wg0.conf").symlink_to(inner / "wg0.conf")
    assert cli.main(["strip", "wg0"]) == 0
    assert said(capsys) == ""
    inner.chmod(0o755)
    assert cli.main(["strip", "wg0"]) == 0
    assert said(capsys) == f"Warning: `{inner}/wg0.conf' is world accessible\n"


@pytest.mark.parametrize("words", [[], ["a", "b"]])
@pytest.mark.parametrize("command", ["up", "down", "save", "strip"])
def test_usage(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, *words]) == 1
    assert said(capsys) == module.USAGE
    assert cli.main([command, "--help"]) == 0
    assert capsys.readouterr().out == module.USAGE


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[Interface]\nAddress = 10.0.0.1\nAddress 10.0.0.2\n",
            "wg0.conf:3: expected [SECTION] or KEY = VALUE",
        ),
        ("[Interface]\n\n\n[Peer]\nEndpoint = x\n", "wg0.conf:5: Endpoint: expected HOST:PORT"),
        ("[Interface]\nSaveConfig = yes\n", "wg0.conf:2: SaveConfig: expected true or false"),
    ],
)
@pytest.mark.parametrize("command", ["up", "down", "save"])
def test_mistakes_are_named_by_file_and_line(
    folder: Path, command: str, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wg0.conf").write_text(text)
    (folder / "wg0.conf").chmod(0o600)
    assert cli.main([command, "wg0"]) == 1
    assert said(capsys).startswith(f"fleet-agent: {folder}/{complaint}")


def test_root_alone_changes_anything(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wg0.conf").write_text(GOOD["server"])
    (folder / "wg0.conf").chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("up", "down", "save"):
        assert cli.main([command, "wg0"]) == 1
        assert said(capsys) == "fleet-agent: run this as root\n"


@pytest.mark.parametrize("command", ["up", "down", "save"])
def test_an_interface_of_a_fleet_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wg0.conf").write_text(GOOD["server"])
    (folder / "wg0.conf").chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(claims, "claimant", lambda interface: "acme" if interface == "wg0" else None)
    assert cli.main([command, "wg0"]) == 1
    assert said(capsys) == (
        'fleet-agent: wg0 belongs to fleet "acme" on this host, whose agent keeps it as it is: give '
        f"{folder}/wg0.conf another name, or take the host out of that fleet\n"
    )


def test_whose_an_interface_is(tmp_path: Path) -> None:
    assert claimant("wg0", tmp_path) is None
    bundle = samples.bundle()
    Store(tmp_path / "fleets" / bundle.fleet).save(Contents(bundle, interfaces=(Place("old0", "blue"),)))
    assert claimant("wg0", tmp_path) == "acme"
    assert claimant("old0", tmp_path) == "acme"
    assert claimant("wg1", tmp_path) is None
    (tmp_path / "fleets" / bundle.fleet / "state.json").write_text("{")
    with pytest.raises(StoreError):
        claimant("wg1", tmp_path)


def test_hooks_end_at_the_first_error_as_in_wg_quick(tmp_path: Path) -> None:
    programs = Programs({"PATH": os.environ["PATH"]})
    log = tmp_path / "log"
    for hook, status in (
        (f"echo $INTERFACE ${{CONFIG_FILE##*/}} >> {log}", 0),
        (f"false; echo never >> {log}", 1),
        ("(exit 3) | cat", 3),
        (f"shopt -q extglob; x=aab; echo ${{x##+(a)}} >> {log}", 0),
        ("kill -9 $$", 137),
        ("nosuchprogram 2> /dev/null", 127),
    ):
        assert programs.run_hook(hook, "wg0", "/x/wg0.conf") == status, hook
    assert log.read_text() == "wg0 wg0.conf\nb\n"


def test_programs_are_found_where_a_users_path_has_no_sbin(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\ncat >&2; exit 4\n")
    (tmp_path / "tool").chmod(0o755)
    programs = Programs({"PATH": str(tmp_path)})
    assert programs.find("tool") == str(tmp_path / "tool")
    assert programs.find("sh") is not None
    assert programs.find("nosuchprogram") is None
    assert programs.output("nosuchprogram") == ""
    assert programs.run("nosuchprogram 'a b'", "") == 127
    assert programs.run("tool 'a b'", "in") == 4


def test_names_of_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rt_tables.d").mkdir()
    (tmp_path / "rt_tables").write_text("# all of them\n255\tlocal\n0x64 isp1 # a line\n\nodd\n200\n1 dup\n")
    (tmp_path / "rt_tables.d" / "more.conf").write_text("201 isp2\n2 dup\nx y\n1z bad\n")
    monkeypatch.setattr(routing, "_TABLE_FOLDERS", (tmp_path, tmp_path / "nowhere"))
    assert [table_number(name) for name in ("isp1", "isp2", "dup")] == [100, 201, 1]
    assert [table_number(name) for name in ("77", "0x10", "main", "local")] == [77, 16, 254, 255]
    with pytest.raises(KeyError):
        table_number("nosuchtable")
