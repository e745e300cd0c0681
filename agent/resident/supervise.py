"""Keeps the agent running on hosts that have no systemd: `fleet-agent supervise`.

Job: one supervisor a host, in the background; it starts `fleet-agent service`, starts it again when it
ends, ends it when it is told to end, and bounds its log. Refuses to know what the service does. Called
by cli.

Both processes hold a lock with their process id in it. Killing the supervisor leaves the service
running; the next supervisor ends that one and starts its own, so that it runs the code that is
installed now. Devices and tunnel processes live through all of this.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Optional, Union

from agent import places
from agent.log import log
from agent.resident.backoff import Backoff
from agent.resident.files import Lock, private_folder

LOCK = "supervise.lock"
SERVICE_LOCK = "service.lock"
DELAYS = (0.2, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before a service that ended is started again."""
CALM = 60.0
MOST_LOG = 1 << 20
_LOG_SECONDS = 60.0
_OF_SYSTEMD = "systemd runs the agent on this host: use systemctl start, restart or stop fleet-agent"
_END_SECONDS = 10.0


def start(restart: bool, run: Path = Path(places.RUN), state: Path = Path(places.STATE)) -> int:
    """Starts the supervisor in the background unless there is one; with `restart`, in place of that one.

    Returns an exit code once it runs.
    """
    try:
        private_folder(run)
        private_folder(state)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}; the agent needs root")
    if _is_of_systemd(Lock(run / SERVICE_LOCK).holder()):
        return _fail(_OF_SYSTEMD)
    lock = Lock(run / LOCK)
    if restart:
        _end(lock)
    elif lock.holder() is not None:
        print(f"the agent is supervised already (process {lock.holder()})")
        return 0
    with _open_log(state) as output:
        process = subprocess.Popen(
            [*places.program(), "supervise", "--foreground"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + _END_SECONDS
    while lock.holder() != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            return _fail(f"the agent's supervisor does not start; {state / 'agent.log'} says why")
        time.sleep(0.02)
    process.returncode = 0  # it is init's child from now on: nobody here waits for it
    return 0


def stop(run: Path = Path(places.RUN)) -> int:
    """Ends the supervisor and the service; returns an exit code once they have ended."""
    if _is_of_systemd(Lock(run / SERVICE_LOCK).holder()):
        return _fail(_OF_SYSTEMD)
    ended = [_end(Lock(run / name)) for name in (LOCK, SERVICE_LOCK)]
    if not any(ended):
        print("no agent was running")
    return 0


def foreground(run: Path = Path(places.RUN), state: Path = Path(places.STATE)) -> int:
    """The supervisor itself; returns when SIGTERM or SIGINT asked it to end and its service has ended."""
    private_folder(run)
    lock = Lock(run / LOCK)
    if not lock.take():
        return _fail(f"the agent is supervised already (process {lock.holder()})")
    if _end(Lock(run / SERVICE_LOCK)):
        log("ended an agent that nobody supervised")
    backoff = Backoff(DELAYS, CALM)
    with _signals() as signals:
        while True:
            process = subprocess.Popen([*places.program(), "service"], stdin=subprocess.DEVNULL)
            if not _watch(process, signals, state):
                _finish(process)
                return 0
            delay = backoff.ended(time.monotonic())
            log(f"the agent ended ({process.returncode}); started again in {delay:g} s")
            if signals.wait(delay):
                return 0


class _Signals:
    """Signals as something to wait for: `asked` once one of them wants an end."""

    def __init__(self, wake: socket.socket) -> None:
        self.asked = False
        self._wake = wake

    def ask(self) -> None:
        self.asked = True

    def wait_once(self, seconds: float) -> None:
        """Until any signal comes, or `seconds` are over."""
        if select.select([self._wake], [], [], max(0.0, seconds))[0]:
            self._wake.recv(64)

    def wait(self, seconds: float) -> bool:
        """Whether an end was asked for within `seconds`."""
        end = time.monotonic() + seconds
        while not self.asked and time.monotonic() < end:
            self.wait_once(end - time.monotonic())
        return self.asked


@contextmanager
def _signals() -> Iterator[_Signals]:
    wake, signalled = socket.socketpair()
    signalled.setblocking(False)
    signals = _Signals(wake)
    former = signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    handlers = {
        signal.SIGTERM: lambda *_: signals.ask(),
        signal.SIGINT: lambda *_: signals.ask(),
        signal.SIGCHLD: lambda *_: None,  # it wakes us
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in {**before, signal.SIGHUP: ignored}.items():
            signal.signal(number, handler)
        wake.close()
        signalled.close()


def _watch(process: subprocess.Popen[bytes], signals: _Signals, state: Path) -> bool:
    """Waits; True when the service ended by itself, False when an end was asked for."""
    while not signals.asked:
        bound_log(state / "agent.log")
        if process.poll() is not None:
            return True
        signals.wait_once(_LOG_SECONDS)
    return False


def _finish(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_of_systemd(process: Optional[int]) -> bool:
    """Whether the process was started by the unit fleet-agent.service: systemd would start it again."""
    try:
        return process is not None and "/fleet-agent.service" in Path(f"/proc/{process}/cgroup").read_text()
    except OSError:
        return False


def _end(lock: Lock) -> bool:
    """Ends whoever holds the lock; whether there was somebody."""
    holder = lock.holder()
    if holder is None:
        return False
    for number, seconds in ((signal.SIGTERM, _END_SECONDS + 2), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if lock.holder() != holder:
                return True
            time.sleep(0.02)
    return True


@contextmanager
def _open_log(state: Path) -> Iterator[Union[int, IO[bytes]]]:
    try:
        descriptor: Optional[int] = os.open(
            state / "agent.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError:
        descriptor = None  # a full disk is no reason for a host to be without an agent
    try:
        yield subprocess.DEVNULL if descriptor is None else descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def bound_log(file: Path, most: int = MOST_LOG) -> None:
    """Moves what a log of more than `most` bytes holds to FILE.1; its writers, who append, go on writing."""
    try:
        if file.stat().st_size <= most:
            return
    except OSError:
        return
    try:
        old = file.with_name(file.name + ".1")
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
        descriptor = os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with file.open("rb") as source, open(descriptor, "wb") as target:  # noqa: PTH123
            shutil.copyfileobj(source, target)
    except OSError:
        pass  # a full disk: the log is emptied all the same
    with contextlib.suppress(OSError):
        os.truncate(file, 0)


def _fail(sentence: str) -> int:
    print(f"fleet-agent: {sentence}", file=sys.stderr)
    return 1
