"""Tunnel processes: what is said of one that does not start, and when one that hangs is ended.

The processes here are real, their devices are not: a device is there as long as its process is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.host import tunnel, userspace
from agent.host.errors import HostError, SilentError
from agent.host.tunnel import Tunnels
from agent.host.userspace import UserspaceDevice

LISTENS = """
import os, signal, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen(8)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""
ANSWERS = """
while True:
    client, _ = listener.accept()
    try:
        if client.recv(100):
            client.sendall(b"errno=0\\n\\n")
    except OSError:
        pass
    client.close()
"""
HANGS = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pause()
"""


class World:
    """Tunnels whose processes run `script`; their sockets are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.device = UserspaceDevice(folder, patience=0.1)
        self.tunnels = Tunnels(self.spawn, self.device, patience=10)
        self.folder = folder
        self.script = ""
        self.spawned: list[subprocess.Popen[bytes]] = []

    def spawn(self, interface: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", self.script, str(self.folder / f"{interface}.sock")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.spawned.append(process)
        return process

    def start(self, script: str) -> subprocess.Popen[bytes]:
        self.script = script
        self.tunnels.start("wg0")
        return self.spawned[-1]

    def complaint(self, script: str) -> str:
        with pytest.raises(HostError) as caught:
            self.start(script)
        return str(caught.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path)
    monkeypatch.setattr(tunnel, "_exists", made.device.is_alive)
    monkeypatch.setattr(tunnel, "_TUN", Path("/dev/null"))
    monkeypatch.setattr(tunnel, "END_SECONDS", 0.3)
    yield made
    for process in made.spawned:
        process.kill()
        process.wait(10)


def test_a_process_that_runs_is_not_started_twice(world: World) -> None:
    world.start(LISTENS + ANSWERS)
    world.start(LISTENS + ANSWERS)
    assert len(world.spawned) == 1


def test_the_last_words_of_a_process_that_ends_at_once_are_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "fleet-agent tunnel wg0: cannot make the device: Device or resource busy"
    said = world.complaint(f"import sys; sys.exit('first\\n{words}')")
    assert said == ("wg0: the tunnel process ended at once: cannot make the device: Device or resource busy")
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines()] == ["first", words]


def test_one_that_fails_by_a_fault_tells_that(world: World) -> None:
    assert world.complaint("import nowhere_to_be_found").endswith("No module named 'nowhere_to_be_found'")


def test_one_that_ends_without_a_word(world: World) -> None:
    assert "status 7 and without a word" in world.complaint("raise SystemExit(7)")


def test_one_that_is_ending_is_not_waited_for_longer_than_it_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "END_SECONDS", 60.0)
    first = world.start(LISTENS + ANSWERS)
    monkeypatch.setattr(tunnel, "_exists", lambda _: len(world.spawned) > 1)  # its device was deleted
    first.terminate()
    second = world.start(LISTENS + ANSWERS)
    assert second is not first


def test_one_without_its_device_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    process = world.start(LISTENS + ANSWERS)
    monkeypatch.setattr(tunnel, "_exists", lambda _: False)
    assert f"({process.pid}) holds its control socket" in world.complaint("")
    assert process.poll() is None


def test_one_that_hangs_is_ended_once_that_lasts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    process = world.start(LISTENS + HANGS)
    with pytest.raises(TimeoutError):
        world.device.read("wg0")
    with pytest.raises(SilentError, match=r"^wg0: .*does not answer"):
        world.tunnels.end_silent("wg0")
    assert process.poll() is None
    monkeypatch.setattr(tunnel, "SILENT_SECONDS", 0.0)
    world.tunnels.end_silent("wg0")
    assert process.poll() == -9
    assert not (world.folder / "wg0.sock").exists()


def test_one_that_answers_again_is_never_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "SILENT_SECONDS", 0.0)
    slow = "import time; time.sleep(0.4)"
    process = world.start(LISTENS + slow + ANSWERS)
    with pytest.raises(TimeoutError):
        world.device.read("wg0")
    monkeypatch.setattr(world.device, "_patience", 10)
    with pytest.raises(HostError, match="answers again"):
        world.tunnels.end_silent("wg0")
    assert process.poll() is None
    assert world.device.silence("wg0") == 0


def test_one_that_survives_its_device_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    process = world.start(LISTENS + HANGS)
    world.tunnels.ended("wg0")
    assert process.poll() == -9


def test_a_silent_process_is_given_less_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start(LISTENS + HANGS)
    monkeypatch.setattr(userspace, "SHORT_PATIENCE", 0.0001)
    waits = []
    for _ in range(2):
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            world.device.read("wg0")
        waits.append(time.monotonic() - before)
    assert waits[1] < waits[0]
    assert world.device.silence("wg0") >= waits[1]
