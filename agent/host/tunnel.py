"""Tunnel processes: one is started for each userspace device, and lives on without us.

Job: start one and wait until its device is there and its socket answers; see one off. Refuses to know
how a process is started (the command is given) and what its device is then told. Called by host.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.host.errors import HostError
from agent.host.userspace import UserspaceDevice

Spawn = Callable[[str], "subprocess.Popen[bytes]"]
"""Starts the tunnel process of an interface, detached from us."""

START_SECONDS = 15.0
END_SECONDS = 5.0
_STEP = 0.02
_LOG = "stands in the agent's log: journalctl -u fleet-agent, or /var/lib/fleet-agent/agent.log"
_TUN = Path("/dev/net/tun")


class Tunnels:
    """The tunnel processes of this host. Those that we started are waited for when they end."""

    def __init__(self, spawn: Spawn, device: UserspaceDevice, patience: float = START_SECONDS) -> None:
        self._spawn = spawn
        self._device = device
        self._patience = patience
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, interface: str) -> None:
        """Returns when the device is there and answers. Raises HostError."""
        self.reap()
        if self._device.is_alive(interface):
            # Perhaps it was started by an agent that ended meanwhile, and is about to make its device.
            if self._wait(lambda: self._is_ready(interface), END_SECONDS):
                return
            raise HostError(
                f"{interface}: a tunnel process holds its control socket, but its device is not here: "
                "end that process, then apply again"
            )
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
        if process.poll() is not None:
            del self._children[interface]
            raise HostError(
                f"{interface}: the tunnel process ended at once (status {process.returncode}); why, {_LOG}"
            )
        if not self._is_ready(interface):
            process.terminate()
            raise HostError(
                f"{interface}: the tunnel process did not answer within {self._patience:g} s and was ended; "
                f"what it said {_LOG}"
            )

    def ended(self, interface: str) -> None:
        """Sees a tunnel off whose device was removed, which ends it. Raises HostError where it does not."""
        if not self._wait(lambda: not self._device.is_alive(interface), END_SECONDS):
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

    def _is_ready(self, interface: str) -> bool:
        try:
            socket.if_nametoindex(interface)
        except OSError:
            return False
        return self._device.is_alive(interface)

    def _wait(self, condition: Callable[[], bool], limit: float) -> bool:
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(_STEP)
        return True
