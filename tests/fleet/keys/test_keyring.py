"""Where sealing keys come from, and how they are kept."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from agent.secret import Secret
from fleet.errors import FleetError
from fleet.keys.keyring import COMMAND_VARIABLE, KEY_VARIABLE, Keyring
from fleet.keys.sealing import Place, Sealer
from tests.fleet.fleets import Randomness

FLEET = "ab" * 16
PLACE = Place(FLEET, "", "psk-root", 1)
KEY = Secret(b"k" * 32)
SECRET = Secret(b"s" * 32)


def opens(sealer: Sealer, key: Secret = KEY) -> bool:
    """Whether `sealer` is one with `key`."""
    return sealer.unseal(Sealer(key).seal(SECRET, PLACE, Randomness()), PLACE) == SECRET


def keep(home: Path, key: Secret = KEY, mode: int = 0o600) -> Path:
    file = home / ".config" / "fleet" / f"{FLEET}.key"
    file.parent.mkdir(parents=True)
    file.write_text(key.reveal_base64() + "\n")
    file.chmod(mode)
    return file


def test_a_new_key_is_written_by_commit_alone_and_found_again(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, {}, Randomness())
    sealer = keyring.create(FLEET)
    sealed = sealer.seal(SECRET, PLACE, Randomness())
    assert list(tmp_path.iterdir()) == []
    assert keyring.find(FLEET).unseal(sealed, PLACE) == SECRET
    keyring.commit()
    assert Keyring(tmp_path, {}, Randomness("else")).find(FLEET).unseal(sealed, PLACE) == SECRET
    file = keyring.file(FLEET)
    assert file == tmp_path / ".config" / "fleet" / f"{FLEET}.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_the_file_is_0600_from_its_creation_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    monkeypatch.setattr(os, "fsync", lambda fd: modes.append(os.fstat(fd).st_mode & 0o777))
    umask = os.umask(0)
    try:
        keyring = Keyring(tmp_path, {}, Randomness())
        keyring.create(FLEET)
        keyring.commit()
    finally:
        os.umask(umask)
    assert modes == [0o600, 0o700]


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    file = keep(tmp_path)
    keyring = Keyring(tmp_path, {}, Randomness())
    assert opens(keyring.create(FLEET))
    keyring.commit()
    assert file.read_text() == KEY.reveal_base64() + "\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    keep(tmp_path, mode=mode)
    with pytest.raises(FleetError, match=rf"{FLEET}\.key: others than you .*chmod 600"):
        Keyring(tmp_path, {}, Randomness()).find(FLEET)


def test_a_missing_key_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(FleetError) as raised:
        Keyring(tmp_path, {}, Randomness()).find(FLEET)
    for way in (FLEET, f"{FLEET}.key", "backup", KEY_VARIABLE, COMMAND_VARIABLE, "--adopt"):
        assert way in str(raised.value)


def test_the_variable_wins_and_leaves_the_environment(tmp_path: Path) -> None:
    keep(tmp_path, Secret(b"f" * 32))
    environ = {KEY_VARIABLE: KEY.reveal_base64(), COMMAND_VARIABLE: "false", "PATH": "/bin"}
    keyring = Keyring(tmp_path, environ, Randomness())
    assert environ == {"PATH": "/bin"}
    assert opens(keyring.find(FLEET))
    assert opens(keyring.find("cd" * 16))


def test_with_the_variable_no_file_is_made_for_a_new_fleet(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, {KEY_VARIABLE: KEY.reveal_base64()}, Randomness())
    assert opens(keyring.create(FLEET))
    keyring.commit()
    assert list(tmp_path.iterdir()) == []


def test_a_command_prints_the_key_once_and_inherits_nothing_of_it(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'runs')!r}).open('a').write(' '.join(os.environ) + chr(10))\n"
        f"print({KEY.reveal_base64()!r})"
    )
    environ = {COMMAND_VARIABLE: shlex.join([sys.executable, "-c", script]), "LC_ALL": "C.UTF-8"}
    keyring = Keyring(tmp_path, environ, Randomness())
    assert opens(keyring.find(FLEET))
    assert opens(keyring.find(FLEET))
    assert opens(keyring.find("cd" * 16))
    (line,) = (tmp_path / "runs").read_text().splitlines()
    assert COMMAND_VARIABLE not in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "ended with 1"),
        ("/does/not/exist", "cannot be run"),
        ("'", "cannot be run"),
        (" ", "cannot be run"),
        ("echo no key", "expected a sealing key"),
    ],
)
def test_a_command_that_fails_is_named(tmp_path: Path, command: str, message: str) -> None:
    with pytest.raises(FleetError, match=f"{COMMAND_VARIABLE}: .*{message}"):
        Keyring(tmp_path, {COMMAND_VARIABLE: command, "PATH": os.environ["PATH"]}, Randomness()).find(FLEET)


@pytest.mark.parametrize("value", ["tooshort", "A" * 44, KEY.reveal_base64()[:-4]])
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, value: str) -> None:
    with pytest.raises(FleetError) as raised:
        Keyring(tmp_path, {KEY_VARIABLE: value}, Randomness()).find(FLEET)
    assert KEY_VARIABLE in str(raised.value)
    assert value not in str(raised.value)


def test_a_key_that_cannot_be_looked_for_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file where a folder has to be")
    with pytest.raises(FleetError, match="this sealing key has to be readable"):
        Keyring(tmp_path, {}, Randomness()).create(FLEET)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, {}, Randomness())
    keyring.create(FLEET)
    (tmp_path / ".config").write_text("a file where a folder has to be")
    with pytest.raises(FleetError, match="the new sealing key could not be written"):
        keyring.commit()


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "fleet"
    folder.mkdir(parents=True)
    (folder / f"{FLEET}.partial").symlink_to(tmp_path / "stolen")
    keyring = Keyring(tmp_path, {}, Randomness())
    keyring.create(FLEET)
    keyring.commit()
    assert not (tmp_path / "stolen").exists()
    assert keyring.file(FLEET).is_file()
