"""The main job as an operator does it: inventories/lab.yml from nothing to a mesh that survives reboots."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.lab.mesh import ROOT, Mesh, mesh
from tests.lab.namespaces import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB = ROOT / "inventories" / "lab.yml"
HOSTS = ("fra1", "sgp1", "nyc1", "oslo", "lima")
BRANCHES = ("oslo", "lima")
ANSIBLE = Path(sys.executable).parent / "ansible-inventory"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(LAB, tmp_path_factory.mktemp("lab")) as running:
        first = running.json("apply", "INVENTORY", "--yes")
        assert first["ok"] is True
        assert {name: host["result"] for name, host in first["hosts"].items()} == dict.fromkeys(
            HOSTS, "changed"
        )
        yield running


def assert_all_reach_all(lab: Mesh) -> None:
    addresses = lab.addresses()
    assert set(addresses) == set(HOSTS)
    assert all(len(found) == 2 for found in addresses.values())
    tries = [(a, address) for a, b in permutations(HOSTS, 2) for address in addresses[b]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pair: lab.pings(pair[0], pair[1], wait=10), tries))
    assert [pair for pair, answer in zip(tries, answers) if not answer] == []


def subnets(lab: Mesh, host: str) -> list[str]:
    values = lab.json("inventory", "INVENTORY", "--host", host)
    found = values["variables"]["fleet_subnets"]["value"]
    assert isinstance(found, list)
    return found


def client_address(prefix: str) -> str:
    from ipaddress import ip_network

    return str(ip_network(prefix)[2])


def test_every_pair_of_hosts_pings_over_the_mesh(lab: Mesh) -> None:
    assert_all_reach_all(lab)


def test_clients_behind_branches_reach_each_other_and_the_core(lab: Mesh) -> None:
    addresses = lab.addresses()
    clients = {branch: [client_address(prefix) for prefix in subnets(lab, branch)] for branch in BRANCHES}
    assert {":" in address for address in clients["oslo"]} == {True, False}
    for here, there in permutations(BRANCHES):
        for index, own in enumerate(clients[here]):
            client = f"{here}/client" if index == 0 else f"{here}/client{index + 1}"
            same = [a for a in clients[there] if (":" in a) == (":" in own)]
            core = [a for a in addresses["fra1"] if (":" in a) == (":" in own)]
            for target in same + core:
                assert lab.pings(client, target), f"{client} -> {target}"
            assert lab.pings("fra1", own), f"fra1 -> {client}"


def test_wg_shows_the_peers(lab: Mesh) -> None:
    assert len(lab.output("fra1", "wg", "show", "wg0", "peers").split()) == 4
    assert len(lab.output("oslo", "wg", "show", "wg0", "peers").split()) == 3
    assert "latest handshake" in lab.output("oslo", "wg", "show")


def test_nobody_calls_a_host_behind_nat(lab: Mesh) -> None:
    """Its peers know where it is from its calls alone, and only it keeps the way open."""
    keepalives = lab.output("oslo", "wg", "show", "wg0", "persistent-keepalive").split()
    assert keepalives[1::2] == ["25"] * 3
    assert "25" not in lab.output("fra1", "wg", "show", "wg0", "persistent-keepalive").split()[1::2]


def test_a_second_apply_changes_nothing(lab: Mesh) -> None:
    second = lab.json("apply", "INVENTORY", "--yes")
    assert second == {
        "version": 1,
        "ok": True,
        "hosts": {name: {"result": "unchanged", "changes": [], "error": None} for name in HOSTS},
    }
    assert lab.must("apply", "INVENTORY", "--yes").count("unchanged") >= len(HOSTS)


def test_status_tells_what_is(lab: Mesh) -> None:
    assert_all_reach_all(lab)
    status = lab.json("status", "INVENTORY")
    assert status["version"] == 1
    assert set(status["hosts"]) == set(HOSTS)
    for host in status["hosts"].values():
        assert host["reachable"] is True
        assert host["backend"] in ("kernel", "userspace")
        assert host["revision"] >= 1
        for peer in host["peers"].values():
            assert peer["state"] == "up"
            assert 0 <= peer["latest_handshake_seconds"] < 180
            assert re.fullmatch(r"\S+:\d+", peer["endpoint"])
            assert peer["rx_bytes"] > 0
            assert peer["tx_bytes"] > 0
    said = lab.fleet("status", "INVENTORY")
    assert "USERSPACE" in said.stdout + said.stderr


def test_ansible_reads_the_same(lab: Mesh) -> None:
    done = subprocess.run(
        [ANSIBLE, "-i", lab.inventory, "--list"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    theirs = json.loads(done.stdout)["_meta"]["hostvars"]
    for host in HOSTS:
        ours = lab.json("inventory", "INVENTORY", "--host", host)["variables"]
        given = {name: value for name, value in theirs[host].items() if name != "fleet"}
        assert {name: ours[name]["value"] for name in given} == given
        said = {name for name, entry in ours.items() if entry["where"]}
        assert said - set(given) <= {"fleet_endpoint"}  # follows from ansible_host


def process_ids(lab: Mesh, host: str, pattern: str) -> list[str]:
    return lab.inside(host, "pgrep", "-f", pattern).stdout.split()


def test_the_tunnel_comes_back_after_a_kill(lab: Mesh) -> None:
    killed = process_ids(lab, "oslo", "fleet-agent tunnel wg0|cli.* tunnel wg0| tunnel wg0")
    assert killed
    lab.output("oslo", "kill", "-9", *killed)
    target = lab.addresses()["lima"][0] if lab.pings("oslo", "127.0.0.1") else ""
    wait_until(lambda: lab.pings("oslo", target), "oslo reaches lima again", 30)
    status = lab.json("status", "INVENTORY")
    assert status["hosts"]["oslo"]["reachable"]
    assert "restarted" in lab.must("status", "INVENTORY")


def test_the_agent_comes_back_after_a_kill_and_the_tunnel_never_left(lab: Mesh) -> None:
    tunnels = process_ids(lab, "fra1", " tunnel wg0")
    agents = process_ids(lab, "fra1", " service$")
    assert tunnels
    assert agents
    lab.output("fra1", "kill", "-9", *agents)

    def back() -> bool:
        now = process_ids(lab, "fra1", " service$")
        return bool(now) and not set(now) & set(agents)

    wait_until(back, "the agent runs again", 30)
    assert process_ids(lab, "fra1", " tunnel wg0") == tunnels
    lab.json("status", "INVENTORY")


@pytest.mark.parametrize("host", ["oslo", "fra1"])
def test_a_reboot_without_the_controller(lab: Mesh, host: str) -> None:
    addresses = lab.addresses()
    lab.must("lab", "reboot", "INVENTORY", host)
    other = next(name for name in HOSTS if name != host)
    wait_until(lambda: lab.pings(other, addresses[host][0]), f"{host} is back", 60)
    assert_all_reach_all(lab)
    assert lab.json("apply", "INVENTORY", "--yes")["hosts"][host]["result"] == "unchanged"


def test_two_applies_at_once(lab: Mesh) -> None:
    """One of two goes through; the other, if they met, is refused and names the first."""
    from fleet.intent import load
    from fleet.state.store import Store, state_place

    with Store(state_place(load(lab.inventory))).lock("fleet apply of a test"):
        done = lab.fleet("apply", "INVENTORY", "--yes")
    assert done.returncode == 1
    assert "fleet apply of a test" in done.stderr
    assert str(os.getpid()) in done.stderr
    lab.must("apply", "INVENTORY", "--yes")


def test_a_lost_state_is_refused_and_changes_nothing(lab: Mesh) -> None:
    before = {host: lab.output(host, "wg", "show", "wg0", "dump").split()[:2] for host in HOSTS}
    folder = lab.inventory.parent / ".fleet" / "state"
    kept = folder.with_name("kept")
    folder.rename(kept)
    try:
        done = lab.fleet("apply", "INVENTORY", "--yes")
        assert done.returncode == 1
        assert "--adopt" in done.stderr
        assert "restore" in done.stderr
        assert "Nothing was changed" in done.stderr
        after = {host: lab.output(host, "wg", "show", "wg0", "dump").split()[:2] for host in HOSTS}
        assert after == before
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kept.rename(folder)
    lab.must("apply", "INVENTORY", "--yes")


def test_adopting_a_fleet_keeps_its_keys_and_its_links(lab: Mesh, tmp_path: Path) -> None:
    before = {host: lab.output(host, "wg", "show", "wg0", "public-key") for host in HOSTS}
    folder = lab.inventory.parent / ".fleet" / "state"
    kept = tmp_path / "kept"
    shutil.move(folder, kept)
    lab.must("apply", "INVENTORY", "--yes", "--adopt")
    assert {host: lab.output(host, "wg", "show", "wg0", "public-key") for host in HOSTS} == before
    assert_all_reach_all(lab)
    second: Any = lab.json("apply", "INVENTORY", "--yes")
    assert {host["result"] for host in second["hosts"].values()} == {"unchanged"}


def test_a_dead_host_fails_alone(lab: Mesh) -> None:
    """sshd and agent of one host are gone; the others are done, the exit code says so."""
    sshd = lab.output("nyc1", "pgrep", "-o", "-x", "sshd").split()
    init = lab.output("nyc1", "cat", "/proc/1/comm").strip()
    assert init == "init"
    lab.output("nyc1", "kill", "-STOP", *sshd)
    try:
        begin = time.monotonic()
        done = lab.json("apply", "INVENTORY", "--yes", "--timeout", "5", code=1)
        assert time.monotonic() - begin < 60
    finally:
        lab.output("nyc1", "kill", "-CONT", *sshd)
    assert done["ok"] is False
    assert done["hosts"]["nyc1"]["result"] == "unreachable"
    assert "nyc1" in done["hosts"]["nyc1"]["error"]
    assert {done["hosts"][name]["result"] for name in HOSTS if name != "nyc1"} == {"unchanged"}


def with_port(text: str) -> str:
    return re.sub(r"^( +)(name: \S+)$", r"\1\2\n\1listen_port: 51999", text, count=1, flags=re.MULTILINE)


def test_without_a_terminal_nothing_is_written(lab: Mesh) -> None:
    text = lab.inventory.read_text()
    try:
        lab.inventory.write_text(with_port(text))
        assert lab.inventory.read_text() != text
        done = lab.fleet("apply", "INVENTORY")
        assert done.returncode == 1
        assert "--yes" in done.stderr
    finally:
        lab.inventory.write_text(text)
    assert lab.json("apply", "INVENTORY", "--yes")["hosts"]["fra1"]["result"] == "unchanged"


def test_a_changed_port_is_an_ordinary_apply(lab: Mesh) -> None:
    text = lab.inventory.read_text()
    lab.inventory.write_text(with_port(text))
    try:
        assert lab.json("apply", "INVENTORY", "--yes")["ok"] is True
        assert lab.output("fra1", "wg", "show", "wg0", "listen-port").strip() == "51999"
        assert_all_reach_all(lab)
    finally:
        lab.inventory.write_text(text)
    lab.must("apply", "INVENTORY", "--yes")
    assert_all_reach_all(lab)


def test_no_secret_shows(lab: Mesh) -> None:
    """Not in files that others may read, not in arguments, not in what commands print."""
    keys = [lab.output(host, "wg", "show", "wg0", "private-key").strip() for host in HOSTS]
    keys += [
        line.split()[1] for line in lab.output("fra1", "wg", "show", "wg0", "preshared-keys").splitlines()
    ]
    assert len(set(keys)) == len(HOSTS) + 4
    search = "cat > /dev/shm/keys; grep -c . /dev/shm/keys; " + (
        "find /var/lib/fleet-agent /run /opt/fleet-agent /tmp /var/log -type f -perm /044 "
        "-exec grep -l -a -F -f /dev/shm/keys {} +; "
        "grep -l -a -F -f /dev/shm/keys /proc/[0-9]*/cmdline /proc/[0-9]*/environ; rm /dev/shm/keys"
    )
    for host in HOSTS:
        found = lab.fleet(
            "lab", "exec", "INVENTORY", host, "--", "sh", "-c", search, stdin="\n".join(keys) + "\n"
        )
        assert found.stdout.split() == [str(len(keys))], (host, found.stdout, found.stderr)
    said = lab.fleet("status", "INVENTORY", "--json").stdout + lab.fleet("apply", "INVENTORY", "--yes").stdout
    assert not [key for key in keys if key in said]
    state = b"".join(
        file.read_bytes() for file in (lab.inventory.parent / ".fleet" / "state").rglob("*") if file.is_file()
    )
    assert not [key for key in keys if key.encode() in state]
