"""A lab for tests: `fleet` run as an operator runs it, on a copy of an inventory with addresses of its own.

Job: copy, bring up, run commands, take down whatever happened. The copy's name and underlay addresses are
changed, so that it never meets a lab that somebody has up. Called by the end-to-end tests.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).parent.parent.parent
FLEET = Path(sys.executable).parent / "fleet"
OWN_ADDRESSES = {"203.0.113.": "198.18.1.", "198.51.100.": "198.18.2."}
"""What becomes of the underlay addresses of inventories/lab.yml."""

_numbers = itertools.count()


@dataclass(frozen=True)
class Mesh:
    """A running lab; `inventory` is the copy, `home` the operator's, None for ours."""

    inventory: Path
    home: Optional[Path] = None

    def fleet(self, *argv: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Runs `fleet ARGV`, its INVENTORY where `argv` says so; whatever the exit code."""
        words = [str(self.inventory) if word == "INVENTORY" else word for word in argv]
        return subprocess.run(
            [FLEET, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.inventory.parent,
            env=None if self.home is None else {**os.environ, "HOME": str(self.home)},
        )

    def must(self, *argv: str, timeout: float = 120) -> str:
        """The standard output of a command that has to succeed."""
        done = self.fleet(*argv, timeout=timeout)
        assert done.returncode == 0, f"fleet {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *argv: str, code: int = 0) -> Any:
        """What a command prints with --json."""
        done = self.fleet(*argv, "--json")
        assert done.returncode == code, f"fleet {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def inside(self, host: str, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command inside a host or a client; whatever the exit code."""
        return self.fleet("lab", "exec", "INVENTORY", host, "--", *argv, timeout=timeout)

    def output(self, host: str, *argv: str) -> str:
        """What a command inside a host prints; it has to succeed."""
        return self.must("lab", "exec", "INVENTORY", host, "--", *argv)

    def addresses(self) -> dict[str, list[str]]:
        """Every host's overlay addresses, as the hosts themselves have them, without prefix lengths."""
        found = {}
        for host in self.json("status", "INVENTORY")["hosts"]:
            links = json.loads(self.output(host, "ip", "-json", "address", "show", "dev", "wg0"))
            found[host] = [info["local"] for info in links[0]["addr_info"] if info.get("scope") != "link"]
        return found

    def pings(self, host: str, address: str, count: int = 1, wait: int = 5) -> bool:
        """Whether `address` answers a host or client."""
        return self.inside(host, "ping", "-q", "-c", str(count), "-W", str(wait), address).returncode == 0


@contextmanager
def mesh(source: Path, folder: Path) -> Iterator[Mesh]:
    """A lab of a copy of `source` in `folder`; nothing is applied yet."""
    name = f"t{os.getpid()}x{next(_numbers)}"
    text = source.read_text()
    for old, new in {**OWN_ADDRESSES, "name: lab": f"name: {name}"}.items():
        assert old in text, f"{source} has no {old!r} to replace"
        text = text.replace(old, new)
    inventory = folder / source.name
    inventory.write_text(text)
    running = Mesh(inventory)
    try:
        running.must("lab", "up", "INVENTORY")
        yield running
    finally:
        running.must("lab", "down", "INVENTORY")
