"""What is kept over reboots: whole, private, old or new."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.netns import Place
from agent.resident.store import Contents, Store, StoreError, finished_contents, next_contents
from tests.agent.samples import bundle, interface, secrets_of

OLD = next_contents(Contents(), bundle(1), secrets_of(bundle(1), 201))
NEW_BUNDLE = bundle(2, [interface("wg1")])
NEW = next_contents(finished_contents(OLD), NEW_BUNDLE, secrets_of(NEW_BUNDLE, 202))


class CrashError(BaseException):
    """The machine lost power: nothing of the process runs any more."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_nothing_kept_and_no_file_made(store: Store, tmp_path: Path) -> None:
    assert store.load() == Contents()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("contents", [OLD, NEW, finished_contents(NEW)])
def test_kept(store: Store, contents: Contents) -> None:
    store.save(contents)
    assert store.load() == contents


def test_root_alone_can_read_it_even_with_a_careless_umask(store: Store, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.save(OLD)
    finally:
        os.umask(before)
    folder = tmp_path / "state"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600]


def test_the_file_is_private_from_its_creation(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            modes.append(stat.S_IMODE(found.st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    store.save(OLD)
    assert modes == [0o600]


def test_a_folder_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    Store(folder).save(OLD)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_that_no_bundle_names_any_more_are_gone(store: Store, tmp_path: Path) -> None:
    store.save(OLD)
    store.save(NEW)
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())
    for ref in set(OLD.secrets) - set(NEW.secrets):
        assert OLD.secrets[ref].reveal_base64().encode() not in kept


@contextmanager
def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[str]]:
    """The system call of this number, counted over all that change files, never comes to pass."""
    made: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) == number:
                raise CrashError(name)
            return real(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("open", "fsync"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counted(name, getattr(Path, name)))
        yield made


def test_a_crash_between_any_two_steps_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in range(1, 100):
        store = Store(tmp_path / str(number))
        store.save(OLD)
        with crash_at(monkeypatch, number) as made, suppress(CrashError):
            store.save(NEW)
        found.append(store.load())
        store.save(finished_contents(NEW))
        assert store.load() == finished_contents(NEW)
        if len(made) < number:
            break
    assert len(found) > 5
    assert all(contents in (OLD, NEW) for contents in found)
    assert found[0] == OLD
    assert found[-1] == NEW


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_torn_write_is_never_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    store = Store(tmp_path / "state")
    store.save(OLD)
    file = tmp_path / "state" / "state.json"
    torn = file.with_name("state.json.partial")
    torn.write_bytes(file.read_bytes()[:length])
    assert store.load() == OLD
    store.save(NEW)
    assert store.load() == NEW
    assert not torn.exists()


@pytest.mark.lab
def test_a_full_disk_leaves_what_was_there_and_says_so(tmp_path: Path) -> None:
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        store = Store(folder)
        store.save(OLD)
        with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        with pytest.raises(
            StoreError, match=r"no space left for .*small/state.json.* free \d+ KiB"
        ) as caught:
            store.save(NEW)
        assert "\n" not in str(caught.value)
        assert store.load() == OLD
        assert {file.name for file in folder.iterdir()} == {"filler", "state.json"}
        (folder / "filler").unlink()
        store.save(NEW)
        assert store.load() == NEW
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, '{"version": 2}', "\x00" * 64, '{"version": 1, "bundle": null}'],
)
def test_a_file_that_makes_no_sense_is_a_sentence(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "state.json"
    file.write_text(text)
    with pytest.raises(StoreError, match=r"state.json cannot be used .* apply the fleet again") as caught:
        store.load()
    assert "\n" not in str(caught.value)
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("interfaces", ["../x"]),
        ("interfaces", "wg0"),
        ("interfaces", [1]),
        ("interfaces", [["wg0", 1]]),
        ("interfaces", [["wg0", "../x"]]),
        ("finished", 1),
        ("secrets", {}),
    ],
)
def test_every_field_is_checked(store: Store, tmp_path: Path, field: str, value: object) -> None:
    store.save(OLD)
    file = tmp_path / "state" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(StoreError):
        store.load()


def test_the_baseline_is_what_was_last_carried_out_in_full() -> None:
    assert OLD.baseline is None
    done = finished_contents(OLD)
    assert done.baseline == bundle(1)
    second = next_contents(done, NEW_BUNDLE, secrets_of(NEW_BUNDLE))
    third = next_contents(second, bundle(3), secrets_of(bundle(3)))
    assert third.baseline == bundle(1)


def test_interfaces_are_remembered_until_they_are_taken_away() -> None:
    first = finished_contents(OLD)
    second = next_contents(first, NEW_BUNDLE, secrets_of(NEW_BUNDLE))
    third = next_contents(second, bundle(3, []), secrets_of(bundle(3, [])))
    assert third.interfaces == (Place("wg0"), Place("wg1"))
    assert finished_contents(third).interfaces == ()


def test_an_interface_is_remembered_in_each_namespace_that_it_was_in(store: Store) -> None:
    moved = bundle(2, [interface("wg0", netns="blue")])
    second = next_contents(finished_contents(OLD), moved, secrets_of(moved))
    store.save(second)
    assert store.load().interfaces == (Place("wg0"), Place("wg0", "blue"))
    assert finished_contents(second).interfaces == (Place("wg0", "blue"),)
