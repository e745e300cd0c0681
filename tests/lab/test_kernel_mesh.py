"""A mesh on the kernel's devices, on ours, and on both: sessions outlive every apply."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import permutations

import pytest

from fleet.lab.lab import find_lab, pid_of
from tests.lab.mesh import Mesh, mesh

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.kernel]

INVENTORY = """\
all:
  vars:
    ansible_user: root
    fleet: {name: lab, pools: [10.77.0.0/16, "fd77:ac3e::/48"], topology: [{mesh: all}]}
  hosts:
    one: {ansible_host: 203.0.113.10, fleet_backend: BACKEND}
    two: {ansible_host: 203.0.113.20, fleet_backend: BACKEND}
    three: {ansible_host: 198.51.100.30, fleet_backend: BACKEND}
"""
HOSTS = ("one", "two", "three")
REKEY_AFTER_TIME = 120
LIMIT = 400
"""Seconds for an apply, which takes 40 where nothing else runs."""
Sessions = dict[tuple[str, str], int]


class Hosts:
    """The lab, and commands in its hosts without the detour of `fleet lab exec`, which takes seconds here."""

    def __init__(self, lab: Mesh) -> None:
        self.lab = lab
        self.pids: dict[str, int] = {}
        self.started = lab.inventory.read_text().replace("BACKEND", "auto")

    def give(self, *backends: str, more: str = "") -> None:
        """Writes the inventory: a backend for each host, and more variables for the last."""
        words = iter(backends)
        text = re.sub("fleet_backend: auto", lambda _: f"fleet_backend: {next(words)}", self.started)
        head, _, tail = text.rpartition("}")
        self.lab.inventory.write_text(f"{head}{more}}}{tail}")

    def apply(self, *changed: str) -> None:
        """Applies; exactly `changed` may have changed."""
        said = self.lab.fleet("apply", "INVENTORY", "--yes", "--timeout", "90", "--json", timeout=LIMIT)
        assert said.returncode == 0, said.stdout + said.stderr
        done = json.loads(said.stdout)
        assert [name for name, host in done["hosts"].items() if host["result"] == "changed"] == list(changed)

    def run(self, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
        if host not in self.pids:
            self.pids[host] = pid_of(find_lab(self.lab.inventory), host)
        command = ("nsenter", f"--target={self.pids[host]}", "--mount", "--net", "--pid", *argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def output(self, host: str, *argv: str) -> str:
        done = self.run(host, *argv)
        assert done.returncode == 0, (host, argv, done.stdout, done.stderr)
        return done.stdout

    def backends(self) -> list[str]:
        """What each host has, as its kernel says."""
        shown = [self.output(host, "ip", "-details", "link", "show", "wg0") for host in HOSTS]
        return ["kernel" if "wireguard" in text else "userspace" for text in shown]

    def addresses(self, host: str) -> list[str]:
        shown = self.output(host, "ip", "-oneline", "address", "show", "dev", "wg0", "scope", "global")
        return [line.split()[3].partition("/")[0] for line in shown.splitlines()]

    def ping_all_pairs(self) -> None:
        addresses = {host: self.addresses(host) for host in HOSTS}
        assert {len(found) for found in addresses.values()} == {2}
        for here, there in permutations(HOSTS, 2):
            for address in addresses[there]:
                done = self.run(here, "ping", "-q", "-c2", "-i0.2", "-W5", address)
                assert done.returncode == 0, f"{here} -> {there} {address}: {done.stdout}"

    def sessions(self) -> Sessions:
        """(host, its peer) -> the latest handshake, in seconds of the clock."""
        names = {self.output(host, "wg", "show", "wg0", "public-key").strip(): host for host in HOSTS}
        return {
            (host, names[line.split()[0]]): int(line.split()[1])
            for host in HOSTS
            for line in self.output(host, "wg", "show", "wg0", "latest-handshakes").splitlines()
        }


def assert_kept(now: Sessions, before: Sessions) -> None:
    """Nobody shook hands again, but for those whose key was old enough (whitepaper, section 6.1)."""
    assert now.keys() == before.keys()
    assert 0 not in before.values()
    renewed = {pair: now[pair] - before[pair] for pair in now if now[pair] != before[pair]}
    assert not {pair: age for pair, age in renewed.items() if age < REKEY_AFTER_TIME}


def without(host: str, sessions: Sessions) -> Sessions:
    """The sessions that `host` has no part in."""
    return {pair: handshake for pair, handshake in sessions.items() if host not in pair}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("lab")
    source = folder / "source.yml"
    source.write_text(INVENTORY.replace("BACKEND", "auto"))
    with mesh(source, folder) as running:
        yield Hosts(running)


MORE = ", fleet_subnets: [192.168.9.0/24]"


def test_mixed_and_status_says_why(hosts: Hosts) -> None:
    hosts.give("auto", "userspace", "userspace")
    hosts.apply(*HOSTS)
    assert hosts.backends() == ["kernel", "userspace", "userspace"]
    hosts.ping_all_pairs()
    shown = hosts.lab.json("status", "INVENTORY")["hosts"]
    assert {name: (host["backend"], host["backend_reason"]) for name, host in shown.items()} == {
        "one": ("kernel", "auto: its kernel has WireGuard"),
        "two": ("userspace", "fleet_backend is userspace"),
        "three": ("userspace", "fleet_backend is userspace"),
    }
    assert all(peer["state"] == "up" for host in shown.values() for peer in host["peers"].values())


def test_to_userspace_and_a_change_for_the_others(hosts: Hosts) -> None:
    before = without("one", hosts.sessions())
    hosts.give("userspace", "userspace", "userspace", more=MORE)
    hosts.apply(*HOSTS)
    assert hosts.backends() == ["userspace"] * 3
    assert "192.168.9.0/24" in hosts.output("two", "wg", "show", "wg0", "allowed-ips")
    hosts.ping_all_pairs()
    assert_kept(without("one", hosts.sessions()), before)


def test_back_to_the_kernel(hosts: Hosts) -> None:
    hosts.give("kernel", "kernel", "kernel", more=MORE)
    hosts.apply(*HOSTS)
    assert hosts.backends() == ["kernel"] * 3
    hosts.ping_all_pairs()
    for host in HOSTS:
        assert "tunnel wg0" not in hosts.output(host, "ps", "-A", "-o", "args")


def test_a_change_leaves_every_kernel_session_as_it_is(hosts: Hosts) -> None:
    before = hosts.sessions()
    hosts.give("kernel", "kernel", "kernel")
    hosts.apply(*HOSTS)
    assert "192.168.9.0/24" not in hosts.output("one", "wg", "show", "wg0", "allowed-ips")
    hosts.ping_all_pairs()
    assert_kept(hosts.sessions(), before)
