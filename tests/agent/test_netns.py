"""Named network namespaces, as far as they can be seen without making one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent import netns
from agent.netns import NamespaceError, identity, within


def test_without_a_name_it_is_here_and_now() -> None:
    assert within(None, threading.current_thread) is threading.current_thread()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(netns, "FOLDER", tmp_path)
    return tmp_path


def test_one_that_is_not_there_is_named_with_what_to_do(folder: Path) -> None:
    with pytest.raises(NamespaceError) as caught:
        within("blue", lambda: None)
    said = str(caught.value)
    assert said.startswith(f"this host has no network namespace blue ({folder}/blue): ")
    assert "ip netns attach blue PID" in said


def test_a_new_one_of_the_same_name_is_another(folder: Path) -> None:
    assert identity("blue") is None
    (folder / "blue").touch()
    first = identity("blue")
    (folder / "other").touch()
    (folder / "other").replace(folder / "blue")
    assert None not in (first, identity("blue"))
    assert identity("blue") != first


@pytest.mark.lab
def test_what_is_left_of_an_unmounted_one_is_none(folder: Path) -> None:
    (folder / "blue").touch()
    with pytest.raises(NamespaceError):
        within("blue", lambda: None)


@pytest.mark.lab
def test_what_fails_inside_is_raised_here(folder: Path) -> None:
    (folder / "own").symlink_to("/proc/self/ns/net")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ZeroDivisionError):
        within("own", lambda: 1 // 0)
    assert within("own", threading.current_thread) is not threading.current_thread()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
