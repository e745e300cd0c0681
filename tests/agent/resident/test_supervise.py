"""The supervisor, with a small program in place of the agent."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import places
from agent.resident import supervise
from agent.resident.files import Lock
from tests.lab.namespaces import wait_until

PROGRAM = """\
#!{python}
import sys, time, os
sys.path.insert(0, {root!r})
from pathlib import Path
from agent import places
from agent.resident import supervise
from agent.resident.files import Lock
places.program = lambda: [{program!r}]
run, state = Path({run!r}), Path({state!r})
if sys.argv[1:] == ["supervise", "--foreground"]:
    sys.exit(supervise.foreground(run, state))
lock = Lock(run / "service.lock")
if not lock.take():
    sys.exit("a second service")
with open(state / "starts", "a") as starts:
    starts.write(f"{{os.getpid()}} {{(state / 'version').read_text()}}\\n")
sys.stderr.write("the service speaks\\n")
sys.stderr.flush()
if (state / "die").exists():
    os.kill(os.getpid(), 9)
time.sleep(1000)
"""


class Place:
    """The folders of one host."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.state = folder / "state"
        self.run.mkdir()
        self.state.mkdir()
        self.version("1")

    def version(self, text: str) -> None:
        (self.state / "version").write_text(text)

    def starts(self) -> list[tuple[int, str]]:
        """Process and version of every service that was started."""
        file = self.state / "starts"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(pid), version) for pid, version in (line.split() for line in lines)]

    def supervisor(self) -> int | None:
        return Lock(self.run / "supervise.lock").holder()

    def service(self) -> int | None:
        return Lock(self.run / "service.lock").holder()

    def start(self, restart: bool = False) -> int:
        code = supervise.start(restart, self.run, self.state)
        wait_until(lambda: self.service() is not None, "a service")
        return code


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    here = Place(tmp_path)
    program = tmp_path / "fleet-agent"
    text = PROGRAM.format(
        python=sys.executable,
        root=str(Path(__file__).parents[3]),
        program=str(program),
        run=str(here.run),
        state=str(here.state),
    )
    program.write_text(textwrap.dedent(text))
    program.chmod(0o755)
    monkeypatch.setattr(places, "program", lambda: [str(program)])
    yield here
    supervise.stop(here.run)
    assert here.supervisor() is None
    assert here.service() is None


def gone(process: int) -> Callable[[], bool]:
    def is_gone() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        # Here nobody but init reaps it, and a test machine's init may not.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    return is_gone


def test_it_goes_to_the_background_with_a_service(place: Place) -> None:
    assert place.start() == 0
    supervisor, service = place.supervisor(), place.service()
    assert supervisor is not None
    assert service is not None
    assert os.getsid(supervisor) == supervisor
    log = place.state / "agent.log"
    wait_until(lambda: "the service speaks" in log.read_text(), "a log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    for descriptor in ("0", "1", "2"):
        assert Path(f"/proc/{supervisor}/fd/{descriptor}").readlink() in (Path(os.devnull), log)


def test_there_is_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.start()
    first = place.supervisor()
    assert place.start() == 0
    assert f"supervised already (process {first})" in capsys.readouterr().out
    assert place.supervisor() == first
    wait_until(lambda: place.service() is not None, "a service")
    assert len(place.starts()) == 1


def test_many_starts_at_once_leave_one(place: Place) -> None:
    threads = [
        threading.Thread(target=supervise.start, args=(False, place.run, place.state)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: place.service() is not None, "a service")
    assert place.supervisor() is not None
    assert len(place.starts()) == 1


def test_a_service_that_is_killed_comes_back(place: Place) -> None:
    place.start()
    first = place.service()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: place.service() not in (None, first), "another service")
    assert "the agent ended (-9)" in (place.state / "agent.log").read_text()


def test_a_service_that_dies_at_once_is_started_ever_later(place: Place) -> None:
    (place.state / "die").touch()
    supervise.start(False, place.run, place.state)
    wait_until(lambda: len(place.starts()) >= 3, "three starts")
    log = (place.state / "agent.log").read_text()
    assert "started again in 0.2 s" in log
    assert "started again in 1 s" in log


def test_sigterm_ends_both(place: Place) -> None:
    place.start()
    supervisor, service = place.supervisor(), place.service()
    assert supervisor is not None
    assert service is not None
    os.kill(supervisor, signal.SIGTERM)
    wait_until(gone(supervisor), "the supervisor's end")
    wait_until(gone(service), "the service's end")


def test_a_killed_supervisor_leaves_the_service_and_the_next_one_replaces_it(place: Place) -> None:
    place.start()
    supervisor, service = place.supervisor(), place.service()
    assert supervisor is not None
    assert service is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: place.supervisor() is None, "the supervisor's end")
    assert place.service() == service
    place.version("2")
    assert supervise.start(False, place.run, place.state) == 0
    wait_until(lambda: len(place.starts()) == 2, "another service")
    assert [version for _, version in place.starts()] == ["1", "2"]
    wait_until(gone(service), "the first service's end")


def test_a_restart_uses_what_is_installed_now(place: Place) -> None:
    place.start()
    before = place.supervisor()
    place.version("2")
    assert place.start(restart=True) == 0
    assert place.supervisor() != before
    wait_until(lambda: len(place.starts()) == 2, "another service")
    assert place.starts()[1] == (place.service(), "2")


def test_a_restart_of_nothing_is_a_start(place: Place) -> None:
    assert place.start(restart=True) == 0
    assert place.supervisor() is not None


def test_stopping_nothing_says_so(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert supervise.stop(place.run) == 0
    assert "no agent was running" in capsys.readouterr().out


def test_a_supervisor_that_cannot_start_says_where_to_look(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "program", lambda: [sys.executable, "-c", "import sys; sys.exit('why')"])
    assert supervise.start(False, place.run, place.state) == 1
    assert "agent.log says why" in capsys.readouterr().err
    assert "why" in (place.state / "agent.log").read_text()


def test_the_log_is_bounded_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log.open("ab")) as writer:
        assert writer.stdin is not None
        for number in range(3):
            writer.stdin.write(f"line {number}\n".encode() * 100)
            writer.stdin.flush()
            wait_until(lambda n=number: f"line {n}" in log.read_text(), "the line")  # type: ignore[misc]
            supervise.bound_log(log, most=500)
            assert log.stat().st_size == 0
            old = log.with_name("agent.log.1")
            assert f"line {number}" in old.read_text()
            assert stat.S_IMODE(old.stat().st_mode) == 0o600
        writer.stdin.write(b"last\n")
        writer.stdin.close()
    supervise.bound_log(log, most=500)
    assert log.read_text() == "last\n"


def test_no_log_is_no_trouble(tmp_path: Path) -> None:
    supervise.bound_log(tmp_path / "agent.log")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["start", "stop"])
def test_an_agent_of_systemd_is_left_to_systemd(
    place: Place, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Lock(place.run / "service.lock")
    assert lock.take()
    read = Path.read_text

    def cgroup(self: Path, *args: str) -> str:
        return "0::/system.slice/fleet-agent.service\n" if self.name == "cgroup" else read(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", cgroup)
        code = (
            supervise.stop(place.run) if command == "stop" else supervise.start(True, place.run, place.state)
        )
    lock.release()
    assert code == 1
    assert "use systemctl" in capsys.readouterr().err
