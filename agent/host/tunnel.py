"""Tunnel processes: one is started for each userspace device, and lives on without us.

Job: start one and wait until its device is there and its socket answers; see one off, also one that
hangs. Refuses to know how a process is started (the command is given) and what its device is then told.
Called by host.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Optional, Protocol

from agent.host.errors import HostError, SilentError
from agent.host.userspace import UserspaceDevice
from agent.log import log


class Process(Protocol):
    """A tunnel process, as subprocess.Popen has it; `pid` is 0 where it is not known."""

    returncode: Any
    stderr: Optional[IO[bytes]]

    @property
    def pid(self) -> int: ...

    def poll(self) -> Optional[int]: ...

    def wait(self, timeout: Optional[float] = None) -> int: ...

    def terminate(self) -> None: ...


Spawn = Callable[[str], Process]
"""Starts the tunnel process of an interface, detached from us; its stderr is ours to read until it runs."""

START_SECONDS = 15.0
END_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""How long a process must have left every request without an answer to be taken for one that hangs."""
_STEP = 0.02
_LOG = "what it said stands in the agent's log: journalctl -u fleet-agent, or /var/lib/fleet-agent/agent.log"
_TUN = Path("/dev/net/tun")


class Tunnels:
    """The tunnel processes of this host. Those that we started are waited for when they end."""

    def __init__(self, spawn: Spawn, device: UserspaceDevice, patience: float = START_SECONDS) -> None:
        self._spawn = spawn
        self._device = device
        self._patience = patience
        self._children: dict[str, Process] = {}

    def start(self, interface: str) -> None:
        """Returns when the device is there and answers. Raises HostError."""
        self.reap()
        if self._is_there(interface):
            return
        if not _TUN.exists():
            raise HostError(
                f"{interface}: {_TUN} does not exist: load the module (modprobe tun) or, in a container, "
                "pass the device in"
            )
        try:
            process = self._spawn(interface)
        except OSError as error:
            raise HostError(f"{interface}: the tunnel process cannot be started: {error}") from error
        self._children[interface] = process
        self._wait(lambda: self._is_ready(interface) or process.poll() is not None, self._patience)
        said = _said(process)
        for line in said:
            log(line)
        if process.poll() is not None:
            del self._children[interface]
            why = said[-1] if said else f"with status {process.returncode} and without a word"
            why = why.replace(f"fleet-agent tunnel {interface}: ", "")
            raise HostError(f"{interface}: the tunnel process ended at once: {why}")
        if not self._is_ready(interface):
            process.terminate()
            raise HostError(
                f"{interface}: the tunnel process did not answer within {self._patience:g} s and was ended; "
                f"{_LOG}"
            )

    def end_silent(self, interface: str, elsewhere: bool = False) -> None:
        """Ends a tunnel that has not answered for SILENT_SECONDS, nor does now. Raises HostError, OSError.

        One that is merely slow must never be ended: its sessions work.
        """
        if self._device.silence(interface) < SILENT_SECONDS:
            raise SilentError(interface)
        if not self._device.is_silent(interface):
            raise HostError(f"{interface}: its tunnel process answers again")
        self._kill(interface)
        log(f"{interface}: ended its tunnel process, which did not answer any more")
        self.ended(interface, elsewhere)

    def is_stray(self, interface: str) -> bool:
        """Whether one of ours runs for this interface, wherever its device may be by now."""
        process = self._device.process(interface)
        if process is None:
            return False
        with suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            return interface.encode() in words and any(word.endswith(b"tunnel") for word in words)
        return False

    def end_stray(self, interface: str) -> None:
        """Ends a tunnel whose device is in a namespace that nobody can name any more. Raises HostError."""
        if self.is_stray(interface):
            self._kill(interface)
            log(f"{interface}: ended its tunnel process, whose device is in no namespace that has a name")
            self.ended(interface, elsewhere=True)

    def ended(self, interface: str, elsewhere: bool = False) -> None:
        """Sees a tunnel off whose device was removed, which ends it. Raises HostError where it does not.

        `elsewhere`: its device was in another namespace than ours, which may have one of this name.
        """
        if not self._wait(lambda: self._is_gone(interface, elsewhere), END_SECONDS):
            self._kill(interface)
            if not self._wait(lambda: self._is_gone(interface, elsewhere), END_SECONDS):
                raise HostError(f"{interface}: its tunnel process does not end: kill it, then apply again")
        self._device.remove_stale(interface)
        process = self._children.pop(interface, None)
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)

    def reap(self) -> None:
        """Takes note of children that ended."""
        for interface, process in list(self._children.items()):
            if process.poll() is not None:
                del self._children[interface]

    def _is_there(self, interface: str) -> bool:
        """Whether a tunnel runs; one that is starting or ending is waited for. Raises HostError.

        It may have been started by an agent that ended meanwhile, and be about to make its device.
        """
        self._wait(lambda: self._is_ready(interface) or not self._device.is_alive(interface), END_SECONDS)
        if not self._device.is_alive(interface):
            return False
        if self._is_ready(interface):
            return True
        process = self._device.process(interface) or "one that cannot be seen from here"
        raise HostError(
            f"{interface}: a tunnel process ({process}) holds its control socket, but its device is not here "
            "(was it renamed or moved?): end that process, and the agent makes the device anew"
        )

    def _kill(self, interface: str) -> None:
        child = self._children.get(interface)
        process = self._device.process(interface) or (child.pid if child else 0)
        if not process:
            raise HostError(f"{interface}: its tunnel process hangs and cannot be found: kill it")
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    def _is_ready(self, interface: str) -> bool:
        return _exists(interface) and self._device.is_alive(interface)

    def _is_gone(self, interface: str, elsewhere: bool) -> bool:
        return (elsewhere or not _exists(interface)) and not self._device.is_alive(interface)

    def _wait(self, condition: Callable[[], bool], limit: float) -> bool:
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(_STEP)
        return True


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _said(process: Process) -> list[str]:
    """The lines that a process said while it started; from then on it speaks to the log itself."""
    if process.stderr is None:
        return []
    with process.stderr as stream:
        os.set_blocking(stream.fileno(), False)
        text = stream.read() or b""
    return [line for line in text.decode(errors="replace").splitlines() if line.strip()]
