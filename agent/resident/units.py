"""Tunnels as units of systemd: each has a control group, a journal and limits of its own.

Job: start the unit of an interface, and stand for its process. Refuses to know when a tunnel is started.
Called by service where systemd started the agent; elsewhere a tunnel is a process of a session of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Optional

from agent.places import TUNNEL_UNIT

_SECONDS = 20.0
"""Longer than the unit's own TimeoutStartSec."""

Run = Callable[[Sequence[str]], "tuple[int, str]"]
"""Runs a command; its exit code and what it printed. Raises OSError."""


def unit_name(interface: str) -> str:
    """The instance of the unit for an interface (systemd.unit(5), "String Escaping")."""
    escaped = re.sub(r"[^A-Za-z0-9_:]", lambda found: f"\\x{ord(found[0]):02x}", interface)
    return TUNNEL_UNIT.replace("@", f"@{escaped}")


class TunnelUnit:
    """A tunnel that systemd was told to start: ready, or ended, when this returns. As subprocess.Popen is.

    Raises OSError where systemd cannot be asked.
    """

    def __init__(self, interface: str, run: Optional[Run] = None) -> None:
        self._run = run or _systemctl
        self._name = unit_name(interface)
        status, said = self._run(["start", self._name])
        self.returncode: Optional[int] = status or None
        self.stderr: Optional[IO[bytes]] = None
        if status:
            self.stderr = _readable(self._shown("StatusText") or said)
            self._run(["reset-failed", self._name])

    @property
    def pid(self) -> int:
        """0 where there is none."""
        shown = self._shown("MainPID")
        return int(shown) if shown.isdecimal() else 0

    def poll(self) -> Optional[int]:
        """None unless it could not be started: whether it runs still, its control socket tells."""
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Returns once it has ended, as it is about to."""
        with suppress(OSError):
            self._run(["stop", self._name])
        return 0

    def terminate(self) -> None:
        with suppress(OSError):
            self._run(["stop", "--no-block", self._name])

    def _shown(self, what: str) -> str:
        with suppress(OSError):
            return self._run(["show", "--value", "--property", what, self._name])[1].strip()
        return ""


def _systemctl(words: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            ["systemctl", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, "systemd does not start it in time"
    return done.returncode, done.stdout.decode(errors="replace")


def _readable(text: str) -> IO[bytes]:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        stream.write(text.encode()[:4096])
    return os.fdopen(read, "rb")
