"""The agent on hosts that systemd boots: applied over SSH, restarted, upgraded, killed, rebooted.

Two hosts, each behind a router of the controller's, so that they meet over their underlay alone.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.namespaces import Namespace, third, wait_until, wired_pair
from tests.lab.nspawn import Machine, booted, host_key
from tests.lab.pictures import PICTURE, changes

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FLEET = Path(sys.executable).parent / "fleet"
INVENTORY = """\
all:
  vars:
    ansible_user: root
    ansible_ssh_private_key_file: {key}
    fleet:
      name: systemd
      pools: [10.77.0.0/24]
      topology:
        - mesh: all
  hosts:
    one: {{ansible_host: {one}}}
    two: {{ansible_host: {two}}}
"""
PEERS = {"one": "two", "two": "one"}


@dataclass
class World:
    """The controller in a namespace of its own, with a home of its own, and the hosts by name."""

    folder: Path
    controller: Namespace
    spaces: dict[str, Namespace]
    hosts: dict[str, Machine]
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each host was before it knew of any fleet."""

    def fleet(self, *argv: str) -> Any:
        """What a command that has to succeed prints with --json."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        home = (f"HOME={self.folder}", f"XDG_CACHE_HOME={cache}")
        words = [*argv[:1], str(self.folder / "inventory.yml"), *argv[1:], "--json"]
        done = self.controller.run("env", *home, str(FLEET), *words, check=False, timeout=120)
        assert done.returncode == 0, f"fleet {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def results(self) -> dict[str, str]:
        """What an apply says of each host."""
        return {name: host["result"] for name, host in self.fleet("apply", "--yes")["hosts"].items()}

    def ssh(self, host: str, command: str, check: bool = True) -> str:
        argv = ["ssh", "-F", "none", "-i", str(self.folder / "key"), "-o", "BatchMode=yes"]
        argv += ["-o", f"UserKnownHostsFile={self.folder}/.ssh/known_hosts", "-o", "ConnectTimeout=5"]
        done = self.controller.run(*argv, f"root@{self.spaces[host].v4}", command, check=check)
        return done.stdout.strip()

    def picture(self, host: str) -> dict[str, Any]:
        """What a host is (tests/lab/picture.py), once its boot is over."""
        self.ssh(host, "systemctl is-system-running --wait", check=False)
        taken: dict[str, Any] = json.loads(self.ssh(host, f"python3 -I -c {shlex.quote(PICTURE)}"))
        return taken

    def shown(self, host: str, what: str) -> str:
        """A property of the agent's unit."""
        return self.ssh(host, f"systemctl show -P {what} fleet-agent")

    def tunnel(self, host: str) -> str:
        """The tunnel's process and the release that it runs."""
        return self.ssh(host, "pgrep -af '[t]unnel wg0'", check=False)

    def links_work(self) -> bool:
        return all(self.ping(host, peer) for host, peer in PEERS.items())

    def ping(self, host: str, peer: str) -> bool:
        address = "$(ip -br address show wg0 | awk '{split($3, a, \"/\"); print a[1]}')"
        there = self.ssh(peer, f"echo {address}", check=False)
        command = f"ping -q -c1 -W2 {there} >/dev/null && echo yes"
        return bool(there) and self.ssh(host, command, check=False) == "yes"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("systemd")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    with wired_pair("sysd") as (controller, one), third(controller, "wire1", 5) as two:
        controller.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        one.run("ip", "route", "add", "default", "via", controller.v4)
        two.run("ip", "route", "add", "default", "via", "198.18.5.1")
        spaces = {"one": one, "two": two}
        text = INVENTORY.format(key=folder / "key", one=one.v4, two=two.v4)
        (folder / "inventory.yml").write_text(text)
        (folder / ".ssh").mkdir(mode=0o700)
        (folder / ".ssh/known_hosts").write_text("".join(f"{s.v4} {host_key()}\n" for s in spaces.values()))
        login = folder / "key.pub"
        with (
            booted(folder / "1", "one", one, login) as first,
            booted(folder / "2", "two", two, login) as second,
        ):
            world = World(folder, controller, spaces, {"one": first, "two": second})
            world.before |= {host: world.picture(host) for host in PEERS}
            yield world


def test_applied_the_unit_is_ready_and_watched(world: World) -> None:
    assert world.results() == {"one": "changed", "two": "changed"}
    assert world.links_work()
    for host in PEERS:
        assert world.ssh(host, "systemctl is-enabled fleet-agent") == "enabled"
        assert world.shown(host, "ActiveState") == "active"
        assert world.shown(host, "NotifyAccess") == "main"
        assert world.shown(host, "WatchdogTimestampMonotonic") != "0"
        assert "ready, release" in world.ssh(host, "journalctl -u fleet-agent -o cat")
    assert world.results() == {"one": "unchanged", "two": "unchanged"}


def test_units_are_sound_and_may_do_little(world: World) -> None:
    units = {"fleet-agent.service": 3.2, "fleet-tunnel@wg0.service": 2.2}
    paths = " ".join(
        f"/etc/systemd/system/{name}" for name in ("fleet-agent.service", "fleet-tunnel@.service")
    )
    assert world.ssh("one", f"systemd-analyze verify {paths} 2>&1") == ""
    for unit, most in units.items():
        last = world.ssh("one", f"systemd-analyze security {unit}").splitlines()[-1]
        print(last)
        assert float(last.split(": ")[1].split()[0]) <= most
    for unit, bits in (("fleet-agent", "0000000000283000"), ("fleet-tunnel@wg0", "0000000000001c00")):
        status = world.ssh("one", f"cat /proc/$(systemctl show -P MainPID {unit})/status")
        said = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert (said["NoNewPrivs"], said["Seccomp"], said["CapBnd"]) == ("1", "2", bits)
    written = "cd /proc/sys/net && cat ipv4/conf/wg0/send_redirects ipv6/conf/wg0/addr_gen_mode"
    assert world.ssh("one", written).split() == ["0", "1"]


def test_the_journal_knows_what_an_entry_is_about(world: World) -> None:
    said = world.ssh("one", "journalctl -o cat FLEET_INTERFACE=wg0 FLEET_LAYER=peer FLEET_PEER=two")
    assert "add peer wg0 peer two (apply)" in said.splitlines()
    assert "fleet tunnel wg0" in world.ssh("one", "journalctl -o cat -u fleet-tunnel@wg0")


def test_whatever_happens_to_agents_no_ping_is_lost(world: World) -> None:
    address = world.ssh("two", "ip -br address show wg0 | awk '{split($3, a, \"/\"); print a[1]}'")
    restart = (
        "systemctl restart fleet-agent; sleep 1; systemctl kill -s KILL --kill-who=main fleet-agent; sleep 3"
    )
    world.ssh("one", f"ping -q -i 0.05 -c 200 {address} >/tmp/pings & {restart}; wait")
    assert "200 packets transmitted, 200 received" in world.ssh("one", "cat /tmp/pings")
    wait_until(lambda: world.shown("one", "ActiveState") == "active", "the agent", limit=30)


def test_the_tunnel_lives_through_a_restart_of_the_agent(world: World) -> None:
    before, process = world.tunnel("one"), world.shown("one", "MainPID")
    world.ssh("one", "systemctl restart fleet-agent")
    assert world.shown("one", "MainPID") != process
    assert world.tunnel("one") == before
    assert world.links_work()


def test_an_agent_that_ends_again_and_again_is_started_every_time(world: World) -> None:
    """Not so with systemd's own limit of five starts within ten seconds."""
    before = world.tunnel("one")
    kill = "systemctl kill -s KILL --kill-who=main fleet-agent; sleep 1.2"  # it is started after 1 s
    world.ssh("one", "; ".join([kill] * 6))
    wait_until(lambda: world.shown("one", "ActiveState") == "active", "the agent", limit=30)
    assert world.tunnel("one") == before
    assert world.links_work()


def test_an_upgrade_leaves_the_tunnel_and_its_release(world: World) -> None:
    """What the tunnel runs is made to be two releases ago."""
    names = [letter * 64 for letter in "ab"]
    new = world.tunnel("two").split("/releases/")[1].split()[0]
    world.ssh("two", "systemctl stop fleet-agent; ip link delete wg0")
    for name in names:
        copy = f"cp -a {new} {name} && echo {name} > {name}/RELEASE && sed -i s/{new}/{name}/ {name}/bin/*"
        world.ssh("two", f"cd /opt/fleet-agent/releases && {copy}")
    for name in names:
        world.ssh("two", f"ln -sfn releases/{name} /opt/fleet-agent/current; systemctl restart fleet-agent")
    before = world.tunnel("two")
    assert names[0] in before
    assert world.results() == {"one": "unchanged", "two": "changed"}
    assert world.tunnel("two") == before
    assert world.links_work()
    assert set(world.ssh("two", "ls /opt/fleet-agent/releases").split()) == {new, *names}


def test_after_a_reboot_everything_is_back_without_the_controller(world: World) -> None:
    world.ssh("one", "systemctl reboot", check=False)
    world.hosts["one"].reset()
    wait_until(world.links_work, "the links", limit=30)
    assert world.ssh("one", "systemctl is-system-running --wait", check=False) == "running"
    assert world.results() == {"one": "unchanged", "two": "unchanged"}


def test_destroyed_a_host_is_what_it_was(world: World) -> None:
    """Half of them with an agent that does not run any more."""
    seen = changes(world.before["two"], world.picture("two"))
    assert "/etc/systemd/system/multi-user.target.wants/fleet-agent.service" in seen["files"]
    assert {"links", "units", "processes"} <= seen.keys()
    world.ssh("two", "systemctl stop fleet-agent")
    hosts = world.fleet("destroy", "--yes")["hosts"]
    assert {name: host["result"] for name, host in hosts.items()} == {"one": "changed", "two": "changed"}
    for host in PEERS:
        left = changes(world.before[host], world.picture(host))
        assert left == {}, left
    assert world.results() == {"one": "changed", "two": "changed"}
    assert world.links_work()
