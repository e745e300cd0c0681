"""Two hosts on one wire, each with files of its own, for tests of the agent as a whole.

Job: give each host a place for /run and /var/lib that is its own, run `fleet-agent` there, write the
bundles that link them, find and kill their processes. Called by test_agent.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from nacl.public import PrivateKey

from agent import bundle as bundles
from agent.bundle import Bundle, Interface, Peer, Route
from agent.report import Report
from agent.report import from_json as report_from_json
from agent.secret import Secret, SecretRef, Secrets
from tests.lab.namespaces import Namespace, interface_name, wait_until, wired_pair

FLEET = "f1ee7" + "0" * 27
PRIVATE = ("/run/fleet-agent", "/var/lib/fleet-agent", "/run/wireguard")
PSK = SecretRef("psk/1~2", 1)


@dataclass
class AgentHost:
    """One host; `number` is 1 or 2, `keeper` the process that holds its mount namespace."""

    number: int
    space: Namespace
    keeper: int
    interface: str
    key: PrivateKey

    @property
    def v4(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def v6(self) -> str:
        return f"fd77::{self.number}"

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.keeper), "-m", "-n", *argv]

    def run(self, *argv: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command on this host; whatever the exit code."""
        return subprocess.run(
            self.command(*argv), input=stdin, capture_output=True, text=True, timeout=timeout, cwd="/"
        )

    def agent(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "agent.cli", *words, stdin=stdin)

    def start(self) -> None:
        done = self.agent("supervise")
        assert done.returncode == 0, done.stderr

    def report(self, probe: bool = False) -> Report:
        done = self.agent("report", *(["--probe"] if probe else []))
        assert done.returncode == 0, done.stdout + done.stderr
        return report_from_json(json.loads(done.stdout)["report"])

    def apply(self, bundle: Bundle, secrets: Secrets) -> Any:
        document = {"bundle": bundles.to_json(bundle), "secrets": secrets.to_json()}
        done = self.agent("apply", stdin=json.dumps(document))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def pings(self, address: str) -> bool:
        return self.run("ping", "-q", "-c1", "-W2", address).returncode == 0

    def processes(self, *words: str) -> list[int]:
        """The processes of this host whose command line has all these words."""
        mine = Path(f"/proc/{self.keeper}/ns/net").stat().st_ino
        wanted = {word.encode() for word in words}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                line = (folder / "cmdline").read_bytes().split(b"\0")
                if wanted <= set(line) and (folder / "ns/net").stat().st_ino == mine:
                    found.append(int(folder.name))
        return sorted(found)

    def tunnels(self) -> list[int]:
        return self.processes("tunnel", self.interface)

    def services(self) -> list[int]:
        return self.processes("agent.cli", "service")

    def kill(self, *words: str) -> None:
        killed = set(self.processes(*words))
        for process in killed:
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: not killed & set(self.processes(*words)), f"the end of {words}")

    def crash(self) -> None:
        """The power goes: all processes of ours end at once, and /run is empty after that."""
        for words in (("supervise",), ("service",), ("tunnel",)):
            self.kill("agent.cli", *words)
        for folder in ("/run/fleet-agent", "/run/wireguard"):
            self.run("find", folder, "-mindepth", "1", "-delete")
        self.run("ip", "link", "delete", self.interface)
        assert self.run("ip", "link", "show", self.interface).returncode != 0


@contextmanager
def agent_pair() -> Iterator[tuple[AgentHost, AgentHost]]:
    """Two hosts without an agent; whatever runs on them at the end is killed."""
    interface = interface_name("a")
    with wired_pair("agent") as spaces:
        hosts = [
            AgentHost(number, space, _private_files(space), interface, PrivateKey.generate())
            for number, space in enumerate(spaces, 1)
        ]
        try:
            yield hosts[0], hosts[1]
        finally:
            for host in hosts:
                for words in (("supervise",), ("service",), ("tunnel",)):
                    host.kill("agent.cli", *words)


def _private_files(space: Namespace) -> int:
    """The process that holds a mount namespace where PRIVATE is empty and nobody else's."""
    for folder in PRIVATE:
        Path(folder).mkdir(parents=True, exist_ok=True)
    mounts = "\n".join(f"mount -t tmpfs -o mode=0755,size=8m tmpfs {folder}" for folder in PRIVATE)
    script = f"set -e\n{mounts}\necho ready\nexec sleep infinity"
    process = space.start("unshare", "-m", "--propagation", "slave", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process.pid


def linked(
    here: AgentHost,
    there: AgentHost,
    revision: int = 1,
    *,
    calls: bool = True,
    keepalive: int = 0,
    change: Optional[Mapping[str, Any]] = None,
) -> tuple[Bundle, Secrets]:
    """The bundle of `here`, linked to `there`; with `calls`, it knows where to call. `change` its fields."""
    own = SecretRef(f"key/{here.number}", 1)
    peer = Peer(
        name=f"host{there.number}",
        public_key=_text(bytes(there.key.public_key)),
        preshared_key=PSK,
        endpoint=f"{there.space.v4}:51820" if calls else None,
        allowed_ips=(f"{there.v4}/32", f"{there.v6}/128"),
        persistent_keepalive=keepalive,
        addresses=(str(there.v4), str(there.v6)),
    )
    interface = Interface(
        name=here.interface,
        backend="userspace",
        private_key=own,
        public_key=_text(bytes(here.key.public_key)),
        listen_port=51820,
        mtu=1420,
        addresses=(f"{here.v4}/32", f"{here.v6}/128"),
        peers=(peer,),
        routes=(Route("10.77.0.0/16"), Route("fd77::/48")),
    )
    bundle = Bundle(1, FLEET, "acme", f"host{here.number}", revision, (interface,))
    secrets = Secrets([(own, Secret(bytes(here.key))), (PSK, Secret(bytes(range(32))))])
    return replace(bundle, **(change or {})), secrets


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
