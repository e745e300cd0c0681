"""Private folders, whole files, locks that end with their holder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.resident.files import Lock, private_folder, replace_file

HOLD = """
import sys, time
from pathlib import Path
from agent.resident.files import Lock
assert Lock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(1000)
"""


def test_a_private_folder_with_its_parents(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    private_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_used_as_one(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        private_folder(place)


def test_a_file_behind_a_link_is_not_written(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / "file").symlink_to(other)
    (tmp_path / "file.partial").symlink_to(other)
    replace_file(tmp_path / "file", b"ours")
    assert (tmp_path / "file").read_bytes() == b"ours"
    assert other.read_text() == "theirs"


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert Lock(file).holder() is None
    lock = Lock(file)
    assert lock.take()
    assert lock.holder() == os.getpid()
    assert not Lock(file).take()
    lock.release()
    assert lock.holder() is None
    assert Lock(file).take()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert Lock(file).holder() == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert Lock(file).holder() is None
    assert Lock(file).take()


def test_a_lock_is_not_handed_to_children(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.take()
    with subprocess.Popen(["sleep", "100"]) as child:
        lock.release()
        assert Lock(tmp_path / "lock").holder() is None
        child.kill()
