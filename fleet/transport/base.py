"""What a way to a host can do, whichever way it is.

Called by delivery and rollout, which refuse to know about SSH; implemented by `ssh` and `local`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from fleet.errors import FleetError

Kind = Literal["unreachable", "failed"]


class TransportError(FleetError):
    """Something went wrong with one host.

    `host` is its name in the inventory, `kind` says whether it could not be reached or something on it
    failed, `reason` is the sentence without the host's name; as text it is `HOST: REASON`.
    """

    def __init__(self, host: str, kind: Kind, reason: str) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.kind: Kind = kind
        self.reason = reason


@dataclass(frozen=True)
class Completed:
    """What a command left: its exit code, its bytes and, decoded leniently, what it complained of."""

    exit_code: int
    stdout: bytes
    stderr: str


class Access(Protocol):
    """How a lab's hosts are reached: with these two files, and nothing of the user's own."""

    @property
    def key_file(self) -> Path:
        """Path of the private key."""

    @property
    def known_hosts(self) -> Path:
        """Path of the file with the hosts' keys."""


class Transport(Protocol):
    """Runs commands as root on one host. Not for several threads at once; one a host and thread is fine.

    `host` is the name in the inventory; `timeout`, in seconds, what a question should be given.
    """

    @property
    def host(self) -> str:
        """The host's name in the inventory."""

    @property
    def timeout(self) -> float:
        """Seconds that a question should be given."""

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        """Run `command` in /bin/sh as root with `stdin`, for `timeout` seconds at most.

        An exit code other than 0 is an answer, not an error. Raises TransportError where the command
        could not be run as root, did not end in time, or the connection was lost.
        """

    def close(self) -> None:
        """Ends the connection; never raises."""
