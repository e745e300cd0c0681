"""A lab's folder and record: found by the inventory file alone, and nobody who is not root is misled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.errors import FleetError
from fleet.lab import lab
from fleet.lab.layout import Layout
from fleet.lab.record import Record, find, place_of, write_private


def _made(folder: Path, name: str = "one") -> Path:
    file = folder / "inventory.yml"
    file.write_text("all: [")
    place = place_of(file, name)
    with place.lock():
        place.save(Record(1, name, str(file), Layout(place.id, (), (), ())))
    return file


def test_a_lab_is_found_whatever_became_of_its_inventory(tmp_path: Path) -> None:
    file = _made(tmp_path)
    assert find(tmp_path / "other.yml") is None
    found = find(file)
    assert found is not None
    place, record = found
    assert (record.name, place) == ("one", place_of(file, "one"))
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert (place.folder / "lab.json").stat().st_mode & 0o777 == 0o600
    place.remove()
    assert sorted(tmp_path.iterdir()) == [file]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    place = place_of(_made(tmp_path), "one")
    with place.lock(), pytest.raises(FleetError, match="another command is at work"), place.lock():
        pass
    with place.lock():
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"version": 1})])
def test_a_broken_record_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    file = _made(tmp_path)
    record = place_of(file, "one").folder / "lab.json"
    record.write_text(text)
    with pytest.raises(FleetError, match="delete it, then run fleet lab down") as caught:
        find(file)
    assert str(caught.value).startswith(f"{record}: cannot be read")


def test_a_lab_of_root_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _made(tmp_path)

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(FleetError, match="belongs to root"):
        find(file)


def test_a_private_file_is_private_from_its_beginning(tmp_path: Path) -> None:
    write_private(tmp_path / "key", "secret")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", "other")


def test_who_is_not_root_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    made = lab.find_lab(_made(tmp_path))
    for command in (lambda: lab.down(made), lambda: lab.reboot(made, []), lambda: lab.pid_of(made, "a")):
        with pytest.raises(FleetError, match=r"^fleet lab \w+ needs root.*sudo\.$"):
            command()
