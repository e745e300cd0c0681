"""Userspace WireGuard devices for tests: ours, Debian's wireguard-go and others, set up alike with `wg`.

Job: start one in a namespace, configure and question it. Refuses to know what is tested. Called by the
tunnel's lab tests and by the benchmark.
"""

from __future__ import annotations

import itertools
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Optional, Union

from tests.lab.namespaces import Namespace, interface_name, wait_until

SOCKETS = Path("/var/run/wireguard")
PORT = 51820
Kind = Literal["ours", "wireguard-go"]

COMMANDS: dict[Kind, tuple[str, ...]] = {
    "ours": (sys.executable, "-m", "agent.tunnel"),
    "wireguard-go": ("wireguard-go", "-f"),
}
_numbers = itertools.count(1)


class Program(NamedTuple):
    """Any WireGuard program that stays in the foreground and speaks UAPI.

    The name of the interface is appended to `command`; `environment` is added to ours.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}


class Transfer(NamedTuple):
    """Bytes of UDP payload."""

    received: int
    sent: int


@dataclass
class Tunnel:
    """A running device. `inner4` and `inner6` are its addresses, `number` tells it from the others."""

    space: Namespace
    interface: str
    process: subprocess.Popen[str]
    private_key: str
    public_key: str
    number: int = field(default_factory=lambda: next(_numbers) % 250 + 1)

    @property
    def inner4(self) -> str:
        return f"10.66.0.{self.number}"

    @property
    def inner6(self) -> str:
        return f"fd66::{self.number}"

    @property
    def control(self) -> Path:
        return SOCKETS / f"{self.interface}.sock"

    def ip(self, *argv: str) -> None:
        self.space.run("ip", *argv)

    def up(self) -> None:
        """Gives it its addresses and sets the link up."""
        self.ip("address", "add", f"{self.inner4}/24", "dev", self.interface)
        self.ip("address", "add", f"{self.inner6}/64", "dev", self.interface, "nodad")
        self.ip("link", "set", self.interface, "up")

    def set(self, *argv: str, stdin: Optional[str] = None) -> None:
        """`wg set IFACE ...`"""
        wg("set", self.interface, *argv, stdin=stdin)

    def show(self, what: str) -> str:
        """`wg show IFACE ...`"""
        return wg("show", self.interface, what)

    def transfer(self) -> Transfer:
        """Of its only peer."""
        _, received, sent = self.show("transfer").split()
        return Transfer(int(received), int(sent))

    def latest_handshake(self) -> int:
        """With its only peer, in seconds since 1970."""
        return int(self.show("latest-handshakes").split()[1])

    def signal(self, number: signal.Signals) -> int:
        """Ends the process; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(10)


def start(
    space: Namespace, kind: Union[Kind, Program], interface: Optional[str] = None, *wrapper: str
) -> Tunnel:
    """Starts a device, down and without a peer, with a key and a port. `wrapper` runs the command."""
    program = kind if isinstance(kind, Program) else Program(kind, COMMANDS[kind])
    interface = interface or interface_name()
    process = space.start(*wrapper, *program.command, interface, env=program.environment)
    path = SOCKETS / f"{interface}.sock"
    wait_until(lambda: process.poll() is not None or _answers(path), f"{program.name} is ready")
    if process.poll() is not None:
        assert process.stdout is not None
        raise AssertionError(f"{program.name} ended: {process.stdout.read()}")
    private_key = wg("genkey")
    tunnel = Tunnel(space, interface, process, private_key, wg("pubkey", stdin=private_key))
    tunnel.set("private-key", "/dev/stdin", "listen-port", str(PORT), stdin=private_key)
    return tunnel


def _answers(path: Path) -> bool:
    """Asked without `wg`, which deletes a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def introduce(
    first: Tunnel, second: Tunnel, *extra: str, version: int = 4, stdin: Optional[str] = None
) -> None:
    """Makes two devices peers, that call each other over IPv4 or IPv6, and sets them up.

    `extra` are more words for `wg set` that go to both.
    """
    for here, there in ((first, second), (second, first)):
        endpoint = f"{there.space.v4}:{PORT}" if version == 4 else f"[{there.space.v6}]:{PORT}"
        allowed_ips = f"{there.inner4}/32,{there.inner6}/128"
        here.set(
            "peer", there.public_key, "endpoint", endpoint, "allowed-ips", allowed_ips, *extra, stdin=stdin
        )
        here.up()


def wg(*argv: str, stdin: Optional[str] = None) -> str:
    """What `wg` prints; a failure is an AssertionError that quotes it."""
    done = subprocess.run(("wg", *argv), input=stdin, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(f"wg {' '.join(argv)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def ping(here: Tunnel, address: str, count: int = 3, *extra: str) -> int:
    """How many of `count` pings, 100 ms apart, are answered.

    Once one was, `ping` waits no longer for the last than for the next: 20 ms are too few on a busy machine.
    """
    done = here.space.run(
        "ping", "-q", "-c", str(count), "-i", "0.1", "-W", "2", *extra, address, check=False
    )
    return received(done.stdout)


def received(output: str) -> int:
    """What `ping` says it received."""
    found = re.search(r"(\d+) received", output)
    assert found, output
    return int(found[1])


def wait_for_pings(here: Tunnel, address: str, limit: float = 20) -> None:
    """Until one is answered."""
    answered: Callable[[], bool] = lambda: ping(here, address, 1) == 1  # noqa: E731
    wait_until(answered, f"{here.interface} reaches {address}", limit)
