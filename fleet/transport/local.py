"""This machine as a host (ansible_connection=local): commands by subprocess. Called by `connect`."""

from __future__ import annotations

import os
import signal
import subprocess

from fleet.transport.base import Completed, TransportError
from fleet.transport.sudo import Escalation


class LocalTransport:
    """Commands as root on this machine."""

    def __init__(self, host: str, escalation: Escalation, timeout: float) -> None:
        self.host = host
        self.timeout = timeout
        self._escalation = escalation

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        """See `Transport.run`; a command that does not end in time is killed with what it started."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", self._escalation.command_line(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TransportError(self.host, "failed", f"a command did not end within {timeout:g} s") from None
        if not self._escalation.started(stderr):
            raise TransportError(self.host, "failed", self._escalation.explain(stderr))
        text = self._escalation.strip(stderr).decode(errors="replace")
        return Completed(process.returncode, stdout, text)

    def close(self) -> None:
        """Nothing to end."""
