"""`fleet lab` for tests: an inventory of their own, the commands as an operator types them, SSH to the hosts.

Called by the tests of the lab. Refuses to know what is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLEET = (sys.executable, "-c", "from fleet.cli.main import main; main()")


@dataclass(frozen=True)
class LabCommands:
    """The lab of one inventory file."""

    inventory: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where the lab keeps its things."""
        return self.inventory.parent / ".fleet" / "lab" / self.name

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """`fleet lab WORDS[0] INVENTORY WORDS[1:]`, running."""
        return subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def try_(self, *words: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, timeout=timeout
        )

    def run(self, *words: str, stdin: str = "") -> str:
        """The same; what it printed. It must work."""
        done = self.try_(*words, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sh(self, node: str, script: str) -> str:
        """What a shell script prints inside a node. It must work."""
        return self.run("exec", node, "--", "sh", "-ec", script).strip()

    def ssh(self, user: str, address: str, port: int, command: str) -> subprocess.CompletedProcess[str]:
        """OpenSSH's own client with the lab's key and known_hosts."""
        options = [
            f"UserKnownHostsFile={self.folder}/known_hosts",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=10",
        ]
        words = ["ssh", "-F", "none", "-i", str(self.folder / "key"), "-p", str(port)]
        words += [word for option in options for word in ("-o", option)]
        return subprocess.run(
            [*words, f"{user}@{address}", command], capture_output=True, text=True, timeout=30, input=""
        )

    def states(self) -> dict[str, Any]:
        """The hosts of `fleet lab list --json`."""
        document = json.loads(self.run("list", "--json"))
        assert document["version"] == 1
        hosts: dict[str, Any] = document["hosts"]
        return hosts

    def command(self, *words: str) -> list[str]:
        """The command line of `fleet lab WORDS[0] INVENTORY WORDS[1:]`."""
        return [*FLEET, "lab", words[0], str(self.inventory), *words[1:]]


def network_of(pid: int | str) -> str | None:
    """The network namespace of a process, None where it is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def processes_in(networks: set[str]) -> list[int]:
    """Processes of this machine that are in one of these network namespaces."""
    return [int(e.name) for e in os.scandir("/proc") if e.name.isdigit() and network_of(e.name) in networks]


def lab_lines_here(*words: str) -> list[str]:
    """Links, addresses, routes, namespaces and mounts of this machine that name one of `words`."""
    commands = (
        "ip -o link",
        "ip -o addr",
        "ip route show table all",
        "ip -6 route show table all",
        "ip netns",
    )
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for command in commands:
        lines += subprocess.run(
            command.split(), capture_output=True, text=True, check=True
        ).stdout.splitlines()
    return [line for line in lines if any(word in line for word in words)]
