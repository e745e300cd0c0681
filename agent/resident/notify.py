"""What the agent tells systemd: that it is ready, and that it still turns (sd_notify(3)).

Job: one datagram each. Does nothing where systemd did not ask. Called by service and, for tunnels, by cli.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping

_START_SECONDS = 90


class Notifier:
    """Takes what systemd set out of `environ`: it is for this process and not for its children."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = environ.pop("WATCHDOG_USEC", "").isdigit()
        environ.pop("WATCHDOG_PID", None)
        self._ready = False

    def ready(self) -> None:
        """The start is over."""
        self._ready = True
        self._send("READY=1")

    def alive(self) -> None:
        """Before the start is over: it may take a while more. After: the watchdog may be calm."""
        if not self._ready:
            self._send(f"EXTEND_TIMEOUT_USEC={_START_SECONDS * 1_000_000}")
        elif self._watched:
            self._send("WATCHDOG=1")

    def failed(self, text: str) -> None:
        """Why the process was never ready; systemd remembers it as the unit's StatusText."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(text.encode(), self._address)
