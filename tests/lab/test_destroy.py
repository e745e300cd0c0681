"""After `fleet destroy` a host is what it was before `fleet apply`, whatever went wrong on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.mesh import FLEET, Mesh, mesh
from tests.lab.namespaces import wait_until
from tests.lab.pictures import PICTURE, changes

pytestmark = [pytest.mark.lab, pytest.mark.slow]

AGENT = "/opt/fleet-agent/current/bin/fleet-agent"
KILL = "pkill -9 -f '[s]upervise --foreground'; pkill -9 -f '^[^ ]*python[^ ]* -I .* service$'"
HOSTS = ("hub1", "hub2", "oslo")
INVENTORY = """\
all:
  vars:
    ansible_user: ops
    ansible_become: true
    fleet:
      name: lab
      pools: [10.77.0.0/16, "fd77:ac3e::/48"]
      topology: [{mesh: hubs}, {hub: hubs, spokes: oslo}]
  children:
    hubs:
      hosts:
        hub1: {ansible_host: 203.0.113.10, fleet_masquerade: [eth0]}
        hub2: {ansible_host: 198.51.100.30}
    spokes:
      hosts:
        oslo: {ansible_host: 203.0.113.120, fleet_nat: true, fleet_subnets: [192.168.20.0/24]}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("destroy")
    source = folder / "source.yml"
    source.write_text(INVENTORY)
    (folder / "own").mkdir()
    with mesh(source, folder / "own") as running:
        for host in HOSTS:  # settings that switching forwarding on and off would change on the side
            running.output(host, "sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=0")
            running.output(host, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")
            running.output(host, "nft", "add table inet operator")
        yield running


@pytest.fixture(scope="module")
def before(lab: Mesh) -> dict[str, Any]:
    taken = {host: picture(lab, host) for host in HOSTS}
    assert all(taken[host] == picture(lab, host) for host in HOSTS), "a picture that does not hold still"
    return taken


@pytest.fixture
def applied(lab: Mesh, before: dict[str, Any]) -> Iterator[Mesh]:
    """The whole fleet; afterwards nothing may be left of it, and every host is what it was."""
    assert lab.json("apply", "INVENTORY", "--yes")["ok"] is True
    yield lab
    assert lab.json("destroy", "INVENTORY", "--yes")["ok"] is True
    for host in HOSTS:
        left = changes(before[host], picture(lab, host))
        assert left == {}, left


def picture(lab: Mesh, host: str) -> dict[str, Any]:
    done = lab.fleet("lab", "exec", "INVENTORY", host, "--", "python3", "-I", "-", stdin=PICTURE)
    assert done.returncode == 0, done.stderr
    taken: dict[str, Any] = json.loads(done.stdout)
    return taken


def results(lab: Mesh, *words: str, code: int = 0) -> dict[str, str]:
    hosts = lab.json("destroy", "INVENTORY", "--yes", *words, code=code)["hosts"]
    return {name: host["result"] for name, host in hosts.items()}


def is_clean(lab: Mesh, host: str) -> bool:
    places = "/opt/fleet-agent /run/fleet-agent /var/lib/fleet-agent/* /sys/class/net/wg0"
    return not lab.inside(
        host, "sh", "-c", f"ls -d {places}; pgrep -f -- '-I /opt/[f]leet-agent/rel'"
    ).stdout.strip()


def test_a_picture_shows_what_fleet_puts_on_a_host(applied: Mesh, before: dict[str, Any]) -> None:
    """Else the comparison would prove nothing."""
    seen = changes(before["hub1"], picture(applied, "hub1"))
    parts = {"links", "addresses", "routes", "routes6", "firewall", "settings", "files", "processes"}
    assert parts <= seen.keys()
    assert {"ipv4/ip_forward", "ipv6/conf/eth0/accept_ra"} <= seen["settings"].keys()
    assert {"/etc/rc.local", "/run/wireguard", AGENT.partition("/current")[0]} <= seen["files"].keys()


def test_it_says_what_goes_and_does_nothing_unasked(applied: Mesh) -> None:
    done = applied.fleet("destroy", "INVENTORY")
    assert done.returncode == 1
    assert "Nothing was changed" in done.stderr
    assert "- interface  wg0" in done.stdout
    assert "/etc/rc.local (" in done.stdout
    assert "masquerade" in done.stdout
    assert {host["result"] for host in applied.json("apply", "INVENTORY", "--yes")["hosts"].values()} == {
        "unchanged"
    }


def test_again_changes_nothing_and_apply_brings_the_same_fleet_back(applied: Mesh) -> None:
    before = applied.addresses()
    key = applied.output("oslo", "wg", "show", "wg0", "public-key")
    assert results(applied) == dict.fromkeys(HOSTS, "changed")
    assert results(applied) == dict.fromkeys(HOSTS, "unchanged")
    assert applied.json("apply", "INVENTORY", "--yes")["ok"] is True
    assert applied.addresses() == before
    assert applied.output("oslo", "wg", "show", "wg0", "public-key") == key


def test_some_hosts_only(applied: Mesh) -> None:
    hub = applied.addresses()["hub1"][0]
    found = applied.must("destroy", "INVENTORY", "--limit", "oslo", "--yes")
    assert "the next fleet apply brings them back" in found
    assert is_clean(applied, "oslo")
    assert applied.pings("hub2", hub)
    assert "oslo" in str(applied.json("status", "INVENTORY", "--limit", "hub1")["hosts"]["hub1"]["peers"])


def test_an_agent_that_is_dead(applied: Mesh) -> None:
    applied.inside("hub1", "sh", "-c", KILL)
    assert applied.inside("hub1", AGENT, "report").returncode != 0
    assert results(applied) == dict.fromkeys(HOSTS, "changed")
    assert is_clean(applied, "hub1")


@pytest.mark.parametrize("lost", ["/opt/fleet-agent", "STATE/fleets", "STATE/* /opt/fleet-agent"])
def test_a_host_that_is_half_removed(applied: Mesh, lost: str) -> None:
    """The device, forwarding and the firewall's table are there still."""
    files = lost.replace("STATE", "/var/lib/fleet-agent")
    applied.inside("hub1", "sh", "-c", f"{KILL}; rm -rf {files}")
    assert applied.inside("hub1", "ip", "link", "show", "wg0").returncode == 0
    assert results(applied) == dict.fromkeys(HOSTS, "changed")
    assert is_clean(applied, "hub1")


def test_an_interface_that_is_somebody_elses_stays(applied: Mesh) -> None:
    assert results(applied) == dict.fromkeys(HOSTS, "changed")
    applied.output("oslo", "ip", "tuntap", "add", "wg0", "mode", "tun")
    try:
        assert results(applied) == dict.fromkeys(HOSTS, "unchanged")
        assert applied.inside("oslo", "ip", "link", "show", "wg0").returncode == 0
    finally:
        applied.output("oslo", "ip", "link", "del", "wg0")


def test_a_host_that_cannot_be_reached_is_named_and_done_later(applied: Mesh) -> None:
    applied.output("hub2", "pkill", "-STOP", "-x", "sshd")
    try:
        done = applied.fleet("destroy", "INVENTORY", "--yes", "--timeout", "3")
    finally:
        applied.output("hub2", "pkill", "-CONT", "-x", "sshd")
    assert done.returncode == 1
    assert "hub2 : unreachable" in done.stdout.replace("  ", " ")
    assert "run the same again" in done.stdout
    assert is_clean(applied, "hub1")
    assert not is_clean(applied, "hub2")
    assert results(applied) == {"hub1": "unchanged", "hub2": "changed", "oslo": "unchanged"}


@pytest.mark.parametrize("seconds", [0.8, 1.2, 1.8])
def test_the_controller_is_killed(applied: Mesh, seconds: float) -> None:
    """A host that it had begun with finishes by itself, or is finished by the next."""
    words = [str(FLEET), "destroy", str(applied.inventory), "--yes"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not removing(applied), "the removals that go on")
    assert set(results(applied).values()) <= {"changed", "unchanged"}
    assert all(is_clean(applied, host) for host in HOSTS)


def removing(lab: Mesh) -> bool:
    return any(lab.inside(host, "pgrep", "-f", "[r]emove$").returncode == 0 for host in HOSTS)


def test_without_the_state_nothing_is_touched(applied: Mesh) -> None:
    folder = applied.inventory.parent / ".fleet" / "state"
    away = folder.with_name("away")
    folder.rename(away)
    try:
        done = applied.fleet("destroy", "INVENTORY", "--yes")
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        away.rename(folder)
    assert done.returncode == 1
    assert "fleet apply --adopt" in done.stderr
    assert applied.json("apply", "INVENTORY", "--yes")["ok"] is True


def test_a_host_that_is_reached_through_the_fleet_itself(applied: Mesh, tmp_path: Path) -> None:
    """Its own way goes in the middle; it finishes by itself, and who carries it comes after it."""
    (folder,) = (applied.inventory.parent / ".fleet" / "lab").iterdir()
    oslo = applied.addresses()["oslo"][0]
    text = applied.inventory.read_text()
    underlay, hub = (
        text.partition(f"{name}: {{ansible_host: ")[2].partition(",")[0] for name in ("oslo", "hub1")
    )
    known = (folder / "known_hosts").read_text()
    key = next(line.split(None, 1)[1] for line in known.splitlines() if underlay in line.split()[0])
    (tmp_path / "known").write_text(f"{known}{oslo} {key}\n")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/config").write_text(
        f"Host {oslo}\nProxyJump ops@{hub}\n"
        f"Host *\nUserKnownHostsFile {tmp_path}/known\nIdentityFile {folder}/key\n"
    )
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(text.replace(f"oslo: {{ansible_host: {underlay}", f"oslo: {{ansible_host: {oslo}"))
    state = applied.inventory.parent / ".fleet/state"
    shutil.copytree(state, tmp_path / ".fleet/state")
    shutil.copytree(Path.home() / ".config/fleet", tmp_path / ".config/fleet")
    words = [str(FLEET), "destroy", str(inventory), "--yes"]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(words, env=home, capture_output=True, text=True, timeout=120)
    shutil.copytree(tmp_path / ".fleet/state", state, dirs_exist_ok=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "the way to oslo leads through the fleet: they go first" in said
    assert "oslo: the way to it led through the fleet and is gone" in said
    wait_until(lambda: is_clean(applied, "oslo"), "oslo, which nobody can see any more")
    assert all(is_clean(applied, host) for host in HOSTS)
