"""A lab comes and goes: repeatable, after a crash at any moment, beside others, without a trace."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.intent import load
from fleet.lab.access import find
from fleet.lab.processes import running
from fleet.lab.record import Place
from tests.lab.lab_commands import LabCommands, lab_lines_here, network_of, processes_in

pytestmark = pytest.mark.lab

INVENTORY = """
all:
  vars:
    fleet: {name: NAME, pools: [10.98.0.0/16], topology: [{hub: core, spokes: branches}]}
  children:
    core:
      hosts:
        a: {ansible_host: 198.18.NET.1}
        b: {ansible_host: 198.18.NET.2}
    branches:
      vars: {fleet_nat: true}
      hosts:
        n: {ansible_host: 198.18.NET.21, fleet_subnets: [192.168.20.0/24]}
"""
EVERYTHING = {"@internet", "a", "b", "n", "n/router", "n/client"}


def _write(folder: Path, name: str, net: int) -> LabCommands:
    file = folder / "inventory.yml"
    file.write_text(INVENTORY.replace("NAME", name).replace("NET", str(net)))
    return LabCommands(file, name)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabCommands]:
    commands = _write(tmp_path, "life", 8)
    try:
        yield commands
    finally:
        commands.try_("down")


def _nodes(lab: LabCommands) -> dict[str, int]:
    return running(Place(lab.folder).id)


def _works(lab: LabCommands) -> None:
    assert _nodes(lab).keys() == EVERYTHING
    lab.sh("n/client", "ping -c 1 -W 2 192.168.20.1")
    for host, end in (("a", 1), ("b", 2), ("n", 21)):
        assert lab.ssh("root", re.sub(r"\d+$", str(end), _address(lab)), 22, "hostname").stdout == f"{host}\n"
    lab.sh("n", f"ping -c 1 -W 2 {_address(lab)}")


def _address(lab: LabCommands) -> str:
    return str(lab.states()["a"]["address"])


def test_down_leaves_the_machine_as_it_was(lab: LabCommands) -> None:
    words = ("198.18.8.", Place(lab.folder).id, str(lab.inventory.parent), "169.254.0.1")
    others = ("169.254.0.1",)  # another lab may be up beside this one
    before = lab_lines_here(*words)
    lab.run("up")
    networks = {network for pid in _nodes(lab).values() if (network := network_of(pid))}
    lab.sh("a", "setsid sleep 6543 </dev/null >/dev/null 2>&1 &")
    assert len(networks) == len(EVERYTHING)
    assert any("198.18.8.21" in line for line in lab_lines_here("198.18.8."))
    assert "6 namespaces" in lab.run("down")
    assert processes_in(networks) == []
    assert [line for line in lab_lines_here(*words) if others[0] not in line] == [
        line for line in before if others[0] not in line
    ]
    assert sorted(p.name for p in lab.inventory.parent.iterdir()) == ["inventory.yml"]
    assert find(load(lab.inventory)) is None
    assert lab.run("down") == "no lab was up\n"
    assert {h["state"] for h in lab.states().values()} == {"down"}
    assert lab.try_("exec", "a", "true").returncode == 1


def test_up_completes_what_is_missing_and_follows_the_inventory(lab: LabCommands) -> None:
    assert "3 hosts made, 0 already there" in lab.run("up")
    first = _nodes(lab)
    key = (lab.folder / "key").read_bytes()
    assert "0 hosts made, 3 already there" in lab.run("up")
    assert _nodes(lab) == first

    os.kill(first["a"], 9)
    os.kill(first["n/router"], 9)
    _wait_for_end(lab, "a", "n/router")
    assert lab.states()["a"]["state"] == "down"
    assert "1 host made, 2 already there" in lab.run("up")
    _works(lab)
    assert {name for name, pid in _nodes(lab).items() if first[name] != pid} == {"a", "n/router"}

    lab.inventory.write_text(
        lab.inventory.read_text().replace("198.18.8.2}", "198.18.8.3}\n        x: {ansible_host: 198.18.8.4}")
    )
    told = lab.run("up")
    assert "2 hosts made, 2 already there" in told
    assert lab.ssh("root", "198.18.8.3", 22, "hostname").stdout == "b\n"
    assert lab.ssh("root", "198.18.8.4", 22, "hostname").stdout == "x\n"
    assert not any("198.18.8.2 " in line for line in lab_lines_here("198.18.8."))

    lab.inventory.write_text(lab.inventory.read_text().replace("        x: {ansible_host: 198.18.8.4}\n", ""))
    assert "no longer in the inventory: x" in lab.run("up")
    assert _nodes(lab).keys() == EVERYTHING
    assert not any("198.18.8.4 " in line for line in lab_lines_here("198.18.8."))
    assert (lab.folder / "key").read_bytes() == key

    os.kill(_nodes(lab)["@internet"], 9)
    _wait_for_end(lab, "@internet")
    assert find(load(lab.inventory)) is None
    lab.run("up")
    assert lab.ssh("root", "198.18.8.21", 22, "hostname").stdout == "n\n"


@pytest.mark.slow
@pytest.mark.parametrize("after", ["up", "down"])
def test_a_crash_at_any_moment_is_mended(lab: LabCommands, after: str) -> None:
    seconds = random.Random(7)
    for _ in range(4):
        for command in ("up", "reboot"):
            crashing = lab.start(command)
            time.sleep(seconds.uniform(0.15, 0.6))
            crashing.kill()
            crashing.communicate()
            networks = {network for pid in _nodes(lab).values() if (network := network_of(pid))}
            if after == "up":
                lab.run("up")
        if after == "up":
            _works(lab)
        lab.run("down")
        assert processes_in(networks) == []
        assert lab_lines_here("198.18.8.", Place(lab.folder).id, str(lab.inventory.parent)) == []
        assert _unborn() == []


def test_down_works_when_record_or_inventory_are_broken(lab: LabCommands) -> None:
    lab.run("up")
    text = lab.inventory.read_text()
    lab.inventory.write_text("all: [")
    assert lab.sh("a", "hostname") == "a"
    assert "6 namespaces" in lab.run("down")

    lab.inventory.write_text(text)
    lab.run("up")
    (lab.folder / "lab.json").unlink()
    assert "6 namespaces" in lab.run("down")
    assert lab_lines_here("198.18.8.") == []


def test_two_labs_stand_beside_each_other(lab: LabCommands, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = _write(tmp_path / "other", "life", 9)
    same = tmp_path / "same.yml"
    try:
        lab.run("up")
        other.run("up")
        _works(lab)
        _works(other)
        assert lab.try_("exec", "a", "--", "ping", "-c", "1", "-W", "1", "198.18.9.1").returncode != 0

        same.write_text(lab.inventory.read_text())
        refused = LabCommands(same, "life").try_("up")
        assert refused.returncode == 1
        assert f"a lab of this name was made from {lab.inventory}" in refused.stderr

        other.inventory.write_text(other.inventory.read_text().replace("198.18.9.2}", "198.18.8.2}"))
        refused = other.try_("up")
        assert refused.returncode == 1
        assert "b: 198.18.8.2 is in use on this machine (route 198.18.8.2 dev fl-" in refused.stderr
        lab.run("down")
        other.run("up")
    finally:
        other.run("down")


def test_one_command_at_a_time(lab: LabCommands) -> None:
    lab.run("up")
    with Place(lab.folder).lock():
        refused = lab.try_("up")
    assert refused.returncode == 1
    assert "another command is at work on this lab" in refused.stderr


@pytest.mark.parametrize(
    ("change", "use"),
    [
        ("ip addr add 198.18.8.200/24 dev lo", "address 198.18.8.200 of lo"),
        ("ip route add 198.18.0.0/16 dev lo", "route 198.18.0.0/16 dev lo"),
        ("ip route add blackhole 198.18.8.1 table 77", "route 198.18.8.1"),
    ],
)
def test_addresses_that_this_machine_uses_are_refused(lab: LabCommands, change: str, use: str) -> None:
    """In a network namespace that stands for a machine which has such an address or route."""
    script = f'ip link set lo up && {change} && exec "$@"'
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", *lab.command("up")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"a: 198.18.8.1 is in use on this machine ({use}): choose another address" in done.stderr
    assert not (lab.inventory.parent / ".fleet").exists()


def test_fifty_hosts_stand_up_at_once(tmp_path: Path) -> None:
    lines = [
        "all:",
        "  vars: {fleet: {name: fifty, pools: [10.97.0.0/16], topology: [{mesh: all}]}}",
        "  hosts:",
        *(f"    h{n}: {{ansible_host: 198.18.10.{n}}}" for n in range(1, 51)),
    ]
    (tmp_path / "inventory.yml").write_text("\n".join(lines) + "\n")
    lab = LabCommands(tmp_path / "inventory.yml", "fifty")
    try:
        assert "50 hosts made" in lab.run("up")
        assert {h["state"] for h in lab.states().values()} == {"up"}
        lab.sh("h1", "ping -c 1 -W 2 198.18.10.50")
    finally:
        lab.run("down")


def _wait_for_end(lab: LabCommands, *names: str) -> None:
    end = time.monotonic() + 10
    while _nodes(lab).keys() & set(names):
        assert time.monotonic() < end
        time.sleep(0.02)


def _unborn() -> list[str]:
    """Nodes that were being made and outlived their maker."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                status = Path(entry.path, "status").read_text()
            except OSError:
                continue
            pids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
            if b"lab" in words and len(pids) > 1 and b"python" in words[0]:
                found.append(repr(words))
    return found
