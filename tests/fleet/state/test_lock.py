"""One writer at a time: refused while somebody holds the lock, never because somebody once did."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.state.lock import StateLockedError, hold

ROOT = Path(__file__).parent.parent.parent.parent
HOLD = (
    "import sys; from pathlib import Path; from fleet.state.lock import hold\n"
    "with hold(Path(sys.argv[1]), 'fleet apply inventory.yml'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


def other(file: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, file], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def left_by(file: Path, **changes: object) -> None:
    """A lock file as a process leaves it that could not clean up."""
    holder = {
        "user": "ops",
        "machine": socket.gethostname(),
        "pid": os.getpid(),
        "started": 1,
        "command": "fleet apply old.yml",
        "since": "2024-01-01T00:00:00+00:00",
    }
    file.write_text(json.dumps(holder | changes))


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = other(file)
    try:
        with pytest.raises(StateLockedError) as raised, hold(file, "fleet apply"):
            pass
        for word in ("fleet apply inventory.yml", socket.gethostname(), f"pid {process.pid}", "since 20"):
            assert word in str(raised.value)
    finally:
        process.communicate("")
    with hold(file, "fleet apply"):
        pass


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = other(file)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "fleet apply" in file.read_text()
    with hold(file, "fleet apply"):
        pass


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with hold(tmp_path / "lock", "first"):
        with pytest.raises(StateLockedError, match="`first`"), hold(tmp_path / "lock", "second"):
            pass
        with pytest.raises(StateLockedError, match="`first`"), hold(tmp_path / "lock", "third"):
            pass


def test_it_is_released_also_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path / "lock", "first"):
        raise KeyError
    assert (tmp_path / "lock").read_text() == ""
    with hold(tmp_path / "lock", "second"):
        assert json.loads((tmp_path / "lock").read_text())["command"] == "second"


def test_a_number_that_another_process_has_now_is_not_the_holder(tmp_path: Path) -> None:
    left_by(tmp_path / "lock", pid=os.getpid(), started=started(os.getpid()) - 1)
    with hold(tmp_path / "lock", "fleet apply"):
        pass


def test_a_holder_that_lives_is_believed_where_the_file_system_does_not_lock(tmp_path: Path) -> None:
    left_by(tmp_path / "lock", pid=os.getpid(), started=started(os.getpid()))
    with (
        pytest.raises(StateLockedError, match=r"fleet apply old\.yml"),
        hold(tmp_path / "lock", "fleet apply"),
    ):
        pass


def test_a_lock_of_another_machine_is_reported_with_the_way_to_break_it(tmp_path: Path) -> None:
    left_by(tmp_path / "lock", machine="elsewhere")
    with pytest.raises(StateLockedError) as raised, hold(tmp_path / "lock", "fleet apply"):
        pass
    assert "ops on elsewhere" in str(raised.value)
    assert f"delete {tmp_path / 'lock'}" in str(raised.value)
    (tmp_path / "lock").unlink()
    with hold(tmp_path / "lock", "fleet apply"):
        pass


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"pid": 1}', "\x00" * 50])
def test_a_text_that_names_nobody_keeps_nobody_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with hold(tmp_path / "lock", "fleet apply"):
        pass


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with hold(tmp_path / "lock", "fleet apply"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
