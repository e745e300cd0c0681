"""The hosts of a lab: they are reached as their inventory says, keep to themselves, and boot again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.intent import load
from fleet.lab.access import find
from fleet.transport.connect import open_transport
from tests.lab.lab_commands import LabCommands

pytestmark = pytest.mark.lab

INVENTORY = """
all:
  vars:
    fleet: {name: labtest, pools: [10.99.0.0/16], topology: [{hub: core, spokes: branches}, {mesh: core}]}
  children:
    core:
      hosts:
        a: {ansible_host: 198.18.7.1}
        b: {ansible_host: "2001:db8:7::b", ansible_port: 2222, ansible_user: ops, ansible_become: true}
        c.eu: {ansible_host: 198.18.7.3, fleet_endpoint: "c.example.net:51820"}
        both: {ansible_host: 198.18.7.4, fleet_endpoint: "[2001:db8:7::4]:51820"}
    branches:
      vars: {fleet_nat: true}
      hosts:
        n:
          ansible_host: 198.18.7.21
          fleet_subnets: [192.168.1.0/24, "fd77:1::/64", 172.20.0.8/31, 172.20.0.20/32]
        six: {ansible_host: "2001:db8:7::22", ansible_port: 2201}
        fwd: {ansible_host: 198.18.7.23, ansible_user: ops, fleet_endpoint: "198.18.7.23:40000"}
"""
ADDRESSES = {
    "a": ("root", "198.18.7.1", 22),
    "b": ("ops", "2001:db8:7::b", 2222),
    "c.eu": ("root", "198.18.7.3", 22),
    "both": ("root", "198.18.7.4", 22),
    "n": ("root", "198.18.7.21", 22),
    "six": ("root", "2001:db8:7::22", 2201),
    "fwd": ("ops", "198.18.7.23", 22),
}
LISTEN = "import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.bind(('', {port})); "


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCommands]:
    file = tmp_path_factory.mktemp("hosts") / "inventory.yml"
    file.write_text(INVENTORY)
    commands = LabCommands(file, "labtest")
    commands.run("up")
    try:
        yield commands
    finally:
        commands.run("down")


@pytest.mark.parametrize("host", ADDRESSES)
def test_openssh_gets_in_at_the_inventorys_address(lab: LabCommands, host: str) -> None:
    done = lab.ssh(*ADDRESSES[host], "hostname; whoami; pwd; cat /proc/1/comm")
    user = ADDRESSES[host][0]
    home = "/root" if user == "root" else f"/home/{user}"
    assert (done.stdout.split(), done.returncode) == ([host, user, home, "init"], 0), done.stderr


def test_become_is_passwordless_sudo_and_nothing_without_it(lab: LabCommands) -> None:
    assert lab.ssh(*ADDRESSES["b"], "sudo -n id -u").stdout == "0\n"
    refused = lab.ssh(*ADDRESSES["fwd"], "sudo -n id -u")
    assert (refused.stdout, refused.returncode) == ("", 1)


@pytest.mark.parametrize("host", ["a", "b", "n"])
def test_the_transport_becomes_root(lab: LabCommands, host: str) -> None:
    inventory = load(lab.inventory)
    access = find(inventory)
    assert access is not None
    assert access.key_file.stat().st_mode & 0o777 == 0o600
    transport = open_transport(inventory.hosts[host], access, 15.0)
    try:
        assert transport.run("id -u; hostname", timeout=15.0).stdout.decode().split() == ["0", host]
    finally:
        transport.close()


def test_a_host_knows_the_names_of_endpoints_and_itself(lab: LabCommands) -> None:
    assert lab.sh("a", "getent ahostsv4 c.example.net | head -1").split()[0] == "198.18.7.3"
    assert lab.sh("c.eu", "getent hosts c.eu").split()[0] == "127.0.1.1"


def test_endpoints_in_another_family_are_there_too(lab: LabCommands) -> None:
    lab.sh("b", "ping -c 1 -W 2 2001:db8:7::4")
    lab.sh("a", "ping -c 1 -W 2 198.18.7.4")


def test_behind_nat_one_calls_and_is_seen_as_the_router(lab: LabCommands) -> None:
    for family, near, outer, caller in (
        ("AF_INET", "198.18.7.1", "198.18.7.21", "n"),
        ("AF_INET6", "2001:db8:7::b", "2001:db8:7::22", "six"),
    ):
        server = "a" if family == "AF_INET" else "b"
        answer = LISTEN.format(family=family, port=7000)
        answer += "data, who = s.recvfrom(9); print(who[0]); s.sendto(data, who)"
        listening = lab.start("exec", server, "--", "python3", "-c", answer)
        call = (
            f"import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(.2)\n"
            f"for _ in range(50):\n s.sendto(b'hello', ('{near}', 7000))\n"
            " try: print(s.recv(9).decode()); break\n except OSError: pass"
        )
        assert lab.sh(caller, f'python3 -c "{call}"') == "hello"
        output, _ = listening.communicate(timeout=10)
        assert output.decode().strip() == outer


def test_nobody_calls_in_but_over_ssh(lab: LabCommands) -> None:
    inside = lab.start("exec", "n", "--", "python3", "-c", "import http.server as h; h.test(port=8000)")
    try:
        _until(lambda: "8000" in lab.sh("n", "ss -Htln"))
        refused = lab.try_("exec", "a", "--", "timeout", "2", "bash", "-c", "</dev/tcp/198.18.7.21/8000")
        assert refused.returncode != 0
        unreachable = lab.try_("exec", "a", "--", "ping", "-c", "1", "-W", "1", "192.168.178.2")
        assert unreachable.returncode != 0
        assert lab.sh("a", "timeout 5 bash -c 'read -r -n 3 x </dev/tcp/198.18.7.21/22; echo $x'") == "SSH"
        lab.sh("n", "timeout 5 bash -c '</dev/tcp/127.0.0.1/8000'")
    finally:
        inside.kill()
        inside.communicate()


def test_an_endpoint_behind_nat_is_a_forwarded_udp_port(lab: LabCommands) -> None:
    listen = f"{LISTEN.format(family='AF_INET', port=51820)} s.settimeout(10); print(s.recvfrom(99))"
    inside = lab.start("exec", "fwd", "--", "python3", "-c", listen)
    _until(lambda: ":51820" in lab.sh("fwd", "ss -Hlun"))
    lab.sh("a", "bash -c 'echo hello >/dev/udp/198.18.7.23/40000'")
    output, _ = inside.communicate(timeout=15)
    assert b"hello" in output
    assert b"198.18.7.1" in output


@pytest.mark.parametrize(
    ("client", "gateway"),
    [
        ("n/client", "192.168.1.1"),
        ("n/client2", "fd77:1::1"),
        ("n/client3", "172.20.0.8"),
        ("n/client4", "169.254.0.1"),
    ],
)
def test_a_client_stands_behind_each_subnet(lab: LabCommands, client: str, gateway: str) -> None:
    lab.sh(client, f"ping -c 1 -W 2 {gateway}")
    family = "-6" if ":" in gateway else "-4"
    assert f"default via {gateway}" in lab.sh(client, f"ip {family} route")
    assert lab.sh(client, "hostname") == client.replace("/", "-")


def test_the_network_behind_a_router_is_not_one_of_the_fleet(lab: LabCommands) -> None:
    assert lab.sh("n", "ip -4 -o addr show eth0").split()[3] == "192.168.178.2/24"


def test_exec_hands_back_exit_codes_input_and_endings(lab: LabCommands) -> None:
    assert lab.try_("exec", "a", "--", "sh", "-c", "exit 7").returncode == 7
    assert lab.try_("exec", "a", "sh", "-c", "kill -9 $$").returncode == 137
    assert lab.run("exec", "a", "--", "cat", stdin="as typed\n") == "as typed\n"
    assert lab.run("exec", "a", stdin="hostname\n") == "a\n"
    missing = lab.try_("exec", "a", "--", "no-such-command")
    assert (missing.returncode, missing.stderr) == (127, "no-such-command: No such file or directory\n")
    unknown = lab.try_("exec", "zz", "--", "true")
    assert unknown.returncode == 1
    assert "'zz' is nothing in this lab" in unknown.stderr


def test_a_killed_exec_leaves_nothing_running(lab: LabCommands) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = lab.start("exec", "a", "--", "sleep", "4321")
        _until(lambda: lab.sh("a", "pgrep -x sleep -a || :").endswith("4321"))
        running.send_signal(number)
        running.communicate(timeout=10)
        _until(lambda: "4321" not in lab.sh("a", "pgrep -x sleep -a || :"))


def test_a_terminal_passes_through(lab: LabCommands) -> None:
    command = shlex.join(lab.command("exec", "a", "--", "sh", "-c", "tty; test -t 0 && stty size"))
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=20, input=""
    )
    assert done.returncode == 0, done.stdout
    assert "/dev/pts/" in done.stdout


def test_a_host_has_files_of_its_own(lab: LabCommands) -> None:
    lab.sh("a", "for f in /etc /root /tmp /opt /var/lib /usr/bin /dev/shm /home; do echo x > $f/of-a; done")
    for folder in ("etc", "root", "tmp", "opt", "var/lib", "usr/bin", "dev/shm", "home"):
        assert not Path("/", folder, "of-a").exists()
    assert lab.sh("b", "ls -d /*/of-a /*/*/of-a 2>/dev/null || echo none") == "none"
    assert lab.try_("exec", "a", "--", "ls", str(lab.folder)).returncode != 0


def test_what_the_operator_keeps_is_hidden_from_hosts() -> None:
    folder = Path("/var/tmp") / f"fleet-lab-{os.getpid()}"  # unlike /tmp, a place that hosts see
    folder.mkdir()
    file = folder / "inventory.yml"
    file.write_text(
        "all: {vars: {fleet: {name: h, pools: [10.99.0.0/24], topology: [{link: [s, t]}]}},\n"
        " hosts: {s: {ansible_host: 198.18.6.1}, t: {ansible_host: 198.18.6.2}}}\n"
    )
    lab = LabCommands(file, "h")
    try:
        lab.run("up")
        assert lab.sh("s", f"ls -a {folder}").split() == [".", "..", ".fleet", "inventory.yml"]
        assert lab.sh("s", f"ls {folder}/.fleet") == ""
    finally:
        lab.run("down")
        file.unlink()
        folder.rmdir()


def test_a_host_has_a_network_of_its_own(lab: LabCommands) -> None:
    assert lab.sh("a", "ls /sys/class/net").split() == ["eth0", "lo"]
    assert lab.sh("a", "cat /proc/sys/net/ipv4/ip_forward") == "0"
    lab.sh("a", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    assert lab.sh("both", "cat /proc/sys/net/ipv4/ip_forward") == "0"
    lab.sh("a", "ip tuntap add dev tun7 mode tun && ip link del tun7")


def test_a_reboot_ends_what_runs_and_keeps_what_is_installed(lab: LabCommands) -> None:
    lab.sh(
        "n",
        """
        echo kept >/opt/kept; mkdir -p /opt/fleet-agent; echo kept >/opt/fleet-agent/kept
        echo kept >/var/lib/fleet-agent/kept; echo gone >/run/gone; echo gone >/etc/gone
        printf '#!/bin/sh\\necho booted >/run/booted\\n' >/etc/rc.local
        ip tuntap add dev tun8 mode tun; sysctl -qw net.ipv4.ip_forward=1
        setsid sleep 5432 </dev/null >/dev/null 2>&1 &
        """,
    )
    pinging = lab.start("exec", "n/client", "--", "ping", "-i", "0.1", "-w", "20", "-c", "60", "192.168.1.1")
    lab.run("reboot", "n")
    for _ in range(2):  # and once more: what is kept is kept for good
        assert (
            lab.sh("n", "cat /opt/kept /opt/fleet-agent/kept /var/lib/fleet-agent/kept").split()
            == ["kept"] * 3
        )
        assert lab.sh("n", "ls /run/gone /etc/gone 2>/dev/null || echo none") == "none"
        assert lab.sh("n", "pgrep -x sleep || echo none") == "none"
        assert lab.sh("n", "ls /sys/class/net").split() == ["eth0", "lan1", "lan2", "lan3", "lan4", "lo"]
        assert lab.sh("n", "cat /proc/sys/net/ipv4/ip_forward") == "0"
        _until(lambda: lab.sh("n", "cat /run/booted 2>/dev/null || :") == "booted")
        lab.run("reboot")
    output, _ = pinging.communicate(timeout=40)
    assert b" 0 received" not in output
    for client in ("n/client", "n/client2"):
        lab.sh(client, f"ping -c 1 -W 2 {'fd77:1::1' if client.endswith('2') else '192.168.1.1'}")
    assert lab.ssh(*ADDRESSES["n"], "hostname").stdout == "n\n"


def test_sshd_comes_back_and_zombies_are_reaped(lab: LabCommands) -> None:
    lab.sh("both", "kill $(cat /run/sshd.pid); sh -c 'sleep 0.1 & exec true' &")
    _until(lambda: lab.ssh(*ADDRESSES["both"], "echo back").stdout == "back\n")
    _until(lambda: "Z" not in lab.sh("both", "ps -eo stat="))


def test_list_says_what_is_up(lab: LabCommands) -> None:
    hosts = lab.states()
    assert list(hosts) == list(ADDRESSES)
    assert {(name, h["address"], h["port"]) for name, h in hosts.items()} == {
        (name, address, port) for name, (_, address, port) in ADDRESSES.items()
    }
    assert {h["state"] for h in hosts.values()} == {"up"}
    assert [name for name, h in hosts.items() if h["nat"]] == ["n", "six", "fwd"]
    assert hosts["n"]["clients"]["n/client2"] == {"state": "up", "address": "fd77:1::2"}
    table = lab.run("list")
    assert "198.18.7.21" in table
    assert "n/client4" in table


def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
