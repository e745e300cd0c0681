"""converge and the host layer on real devices: the kernel's, wireguard-go's and ours."""

from __future__ import annotations

import base64
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

import pytest
from pyroute2.iproute.linux import IPRoute

from agent.bundle import Backend, Bundle, Interface, Peer, Route
from agent.converge import converge
from agent.host.errors import HostError
from agent.host.forwarding import Forwarding
from agent.host.host import Host
from agent.host.network import PROTOCOL, Network
from agent.netns import Place
from agent.operations import AddInterface, SetRoute, Step
from agent.report import FOREIGN, Change, Observed, ObservedPeer
from agent.secret import Secret, SecretRef, Secrets
from agent.wireguard.x25519 import PrivateKey
from tests.lab.inside import inside
from tests.lab.namespaces import Namespace, interface_name, wait_until, wired_pair

pytestmark = pytest.mark.lab

COMMANDS = {"ours": (sys.executable, "-m", "agent.tunnel"), "wireguard-go": ("wireguard-go", "-f")}
PSK = SecretRef("psk/left~right", 1)


KERNEL = pytest.param("kernel", marks=pytest.mark.kernel)
KINDS = pytest.mark.parametrize("kind", [KERNEL, "wireguard-go", "ours"])


@dataclass
class Machine:
    """A namespace with a host layer in it. `number` tells its keys and addresses from the other's."""

    space: Namespace
    number: int
    host: Host
    interface: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    previous: Optional[Bundle] = None

    @property
    def key(self) -> SecretRef:
        return SecretRef(f"key/{self.number}", 1)

    @property
    def secrets(self) -> Secrets:
        return Secrets(
            [
                (self.key, Secret(bytes([self.number]) * 32)),
                (SecretRef(self.key.id, 2), Secret(bytes([100 + self.number]) * 32)),
                (PSK, Secret(bytes([77]) * 32)),
            ]
        )

    @property
    def public_key(self) -> str:
        return base64.b64encode(PrivateKey(bytes([self.number]) * 32).public).decode()

    def end(self) -> None:
        """Ends what it started."""
        for process in self.processes:
            process.kill()
            process.wait(10)

    def observe(self) -> Observed:
        with inside(self.space):
            return self.host.observe(self.previous, self.secrets, [Place(self.interface)])

    def peer(self) -> ObservedPeer:
        (found,) = self.observe().interfaces[0].peers
        return found

    def apply(self, wanted: Bundle) -> list[Change]:
        """Carries every step out, after which nothing may differ; what was done."""
        steps = self.steps(wanted)
        with inside(self.space):
            for step in steps:
                self.host.execute(step, self.secrets)
        self.previous = wanted
        assert self.steps(wanted) == ()
        return [step.change for step in steps]

    def steps(self, wanted: Bundle) -> tuple[Step, ...]:
        return converge(wanted, self.observe(), self.previous)

    def complaint(self, step: Step) -> str:
        with inside(self.space), pytest.raises(HostError) as caught:
            self.host.execute(step, self.secrets)
        return str(caught.value)


@contextmanager
def machines(kind: str, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two on one wire; what they started is ended, whatever happened."""
    made: list[Machine] = []
    with wired_pair("host") as pair:
        try:
            for number, space in enumerate(pair, 1):
                machine = Machine(space, number, None, interface_name("h"))  # type: ignore[arg-type]
                forwarding = Forwarding(run=tmp_path / str(number))
                machine.host = Host(spawner(machine, kind), forwarding=forwarding)
                made.append(machine)
            yield made[0], made[1]
        finally:
            for machine in made:
                machine.end()
                Path(f"/var/run/wireguard/{machine.interface}.sock").unlink(missing_ok=True)


def spawner(machine: Machine, kind: str):  # type: ignore[no-untyped-def]
    def spawn(interface: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*COMMANDS[kind], interface],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        machine.processes.append(process)
        return process

    return spawn


def wanted(machine: Machine, other: Machine, kind: str, *more: str) -> Bundle:
    """What `machine` should be, with `more` prefixes behind `other`."""
    backend: Backend = "kernel" if kind == "kernel" else "userspace"
    number = other.number
    peer = Peer(
        name=f"host{number}",
        public_key=other.public_key,
        preshared_key=PSK,
        endpoint=f"{other.space.v4}:51820",
        allowed_ips=(f"10.66.0.{number}/32", f"fd66::{number}/128", *more),
    )
    addresses = (f"10.66.0.{machine.number}/32", f"fd66::{machine.number}/128")
    interface = Interface(
        name=machine.interface,
        backend=backend,
        private_key=machine.key,
        public_key=machine.public_key,
        listen_port=51820,
        mtu=1380,
        addresses=addresses,
        peers=(peer,),
        routes=(
            Route("10.66.0.0/16", addresses[0].split("/")[0]),
            Route("fd66::/64", addresses[1].split("/")[0]),
        ),
    )
    return Bundle(1, "0" * 32, "t", f"host{machine.number}", 1, (interface,), forwarding=True)


def change(bundle: Bundle, **fields: object) -> Bundle:
    return replace(bundle, interfaces=(replace(bundle.interfaces[0], **fields),))  # type: ignore[arg-type]


def change_peer(bundle: Bundle, **fields: object) -> Bundle:
    (peer,) = bundle.interfaces[0].peers
    return change(bundle, peers=(replace(peer, **fields),))  # type: ignore[arg-type]


def pings(machine: Machine, address: str, count: int = 3) -> int:
    done = machine.space.run("ping", "-c", str(count), "-i", "0.05", "-W", "3", address, check=False)
    return done.stdout.count("bytes from")


@KINDS
def test_two_bare_hosts_become_what_they_should_be_and_reach_each_other(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        left.apply(wanted(left, right, kind))
        right.apply(wanted(right, left, kind))
        assert pings(left, "10.66.0.2") == 3
        assert pings(right, "fd66::1") == 3

        observed = left.observe().interfaces[0]
        assert observed.backend == ("kernel" if kind == "kernel" else "userspace")
        assert (observed.public_key, observed.mtu, observed.up) == (left.public_key, 1380, True)
        assert left.peer().latest_handshake is not None
        assert left.peer().rx_bytes > 300
        assert "proto 119" in left.space.output("ip", "route", "show", "10.66.0.0/16")
        assert PROTOCOL == 119

        for machine in (left, right):
            done = machine.apply(replace(wanted(machine, machine, kind), interfaces=(), forwarding=False))
            assert [c.action for c in done] == ["remove", "remove"]
            assert machine.interface not in machine.space.output("ip", "link")
            assert not Path(f"/var/run/wireguard/{machine.interface}.sock").exists()
            assert all(process.poll() is not None for process in machine.processes)


@KINDS
def test_changes_leave_the_session_and_the_traffic_alone(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        first = wanted(left, right, kind, "10.9.0.0/16")
        left.apply(first)
        right.apply(wanted(right, left, kind))
        assert pings(left, "10.66.0.2") == 3
        handshake = left.peer().latest_handshake
        busy = left.space.start("ping", "-c", "200", "-i", "0.01", "-W", "3", "10.66.0.2")

        second = change_peer(
            wanted(left, right, kind, "10.8.0.0/16", "fd99::/64"), persistent_keepalive=25, preshared_key=None
        )
        done = left.apply(change(second, mtu=1300))
        name = left.interface
        assert [(c.action, c.item) for c in done] == [
            ("change", f"{name} mtu"),
            ("change", f"{name} peer host2 preshared_key"),
            ("change", f"{name} peer host2 persistent_keepalive"),
            ("add", f"{name} peer host2 allowed_ips"),
            ("remove", f"{name} peer host2 allowed_ips"),
        ]
        stranger = Peer("host3", base64.b64encode(bytes([3]) * 32).decode(), None, None, ("10.8.0.0/16",))
        (peer,) = second.interfaces[0].peers
        peer = replace(peer, allowed_ips=peer.allowed_ips[:2])
        third = change(second, mtu=1300, peers=(peer, stranger))
        left.apply(third)
        left.apply(change(third, peers=(peer,)))
        assert busy.stdout is not None
        assert "200 received" in busy.stdout.read()
        assert left.peer().latest_handshake == handshake
        assert left.peer().allowed_ips == ("10.66.0.2/32", "fd66::2/128")


@KINDS
def test_a_peer_that_roams_is_not_called_back(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        left.apply(wanted(left, right, kind))
        right.apply(wanted(right, left, kind))
        assert pings(left, "10.66.0.2") == 3
        right.space.run("wg", "set", right.interface, "listen-port", "51999")
        wait_until(lambda: pings(right, "10.66.0.1", 1) == 1, "the roamed host reaches the other")
        assert left.peer().endpoint == "192.0.2.2:51999"
        assert left.previous is not None
        assert left.steps(left.previous) == ()


@KINDS
def test_what_hands_changed_is_found_and_mended(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        bundle = wanted(left, right, kind)
        left.apply(bundle)
        right.apply(wanted(right, left, kind))
        name, key = left.interface, tmp_path / "key"
        key.write_text(base64.b64encode(bytes([55]) * 32).decode())
        left.space.run("wg", "set", name, "private-key", str(key), "listen-port", "5", "fwmark", "9")
        left.space.run("wg", "set", name, "peer", right.public_key, "remove")
        left.space.run("ip", "address", "flush", "dev", name, "scope", "global")
        left.space.run("ip", "address", "add", "10.1.2.3/32", "dev", name)
        left.space.run("ip", "link", "set", name, "mtu", "1281")
        observed = left.observe().interfaces[0]
        assert (observed.private_key, observed.listen_port, observed.fwmark) == (FOREIGN, 5, 9)
        assert (observed.mtu, observed.peers) == (1281, ())
        assert "10.1.2.3/32" in observed.addresses
        left.apply(bundle)
        wait_until(lambda: pings(left, "10.66.0.2", 1) == 1, "a session under the right key")


@KINDS
def test_a_new_private_key_is_told_from_the_old_one(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        left.apply(wanted(left, right, kind))
        second = SecretRef(left.key.id, 2)
        public_key = base64.b64encode(PrivateKey(bytes([101]) * 32).public).decode()
        (done,) = left.apply(change(wanted(left, right, kind), private_key=second, public_key=public_key))
        assert (done.expected, done.actual) == ("key/1 generation 2", "key/1 generation 1")
        assert left.observe().interfaces[0].public_key == public_key


@KINDS
def test_long_lists_of_prefixes_come_and_go(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        many = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(2200)]
        left.apply(wanted(left, right, kind, *many))
        assert len(left.peer().allowed_ips) == 2202
        left.apply(wanted(left, right, kind, *many[:2]))
        assert len(left.peer().allowed_ips) == 4


@pytest.mark.parametrize("kind", ["wireguard-go", "ours"])
def test_a_killed_tunnel_counts_as_no_device_and_is_made_again(kind: str, tmp_path: Path) -> None:
    with machines(kind, tmp_path) as (left, right):
        bundle = wanted(left, right, kind)
        left.apply(bundle)
        right.apply(wanted(right, left, kind))
        (process,) = left.processes
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert Path(f"/var/run/wireguard/{left.interface}.sock").exists()
        assert left.observe().interfaces == ()
        done = left.apply(bundle)
        assert (done[0].item, done[0].action) == (left.interface, "add")
        wait_until(lambda: pings(left, "10.66.0.2", 1) == 1, "the link is back")


def test_the_tunnel_outlives_the_agent_and_is_found_by_the_next(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        left.apply(wanted(left, right, "ours"))
        (process,) = left.processes
        assert os.getsid(process.pid) == process.pid
        left.host = Host(spawner(left, "ours"), forwarding=Forwarding(run=tmp_path / "1"))
        assert left.steps(wanted(left, right, "ours")) == ()


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        left.apply(wanted(left, right, "ours"))
        with inside(left.space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("0.0.0.0", 5555))
            (step,) = left.steps(change(wanted(left, right, "ours"), listen_port=5555))
            complaint = left.complaint(step)
        assert "UDP port is in use" in complaint
        assert left.interface in complaint


def test_routes_of_others_are_left_alone(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        left.apply(wanted(left, right, "ours"))
        for command in (
            ("ip", "route", "add", "10.70.0.0/16", "via", "192.0.2.2"),
            ("ip", "-6", "route", "add", "fd70::/64", "via", "2001:db8::2"),
            ("ip", "route", "add", "10.71.0.0/16", "dev", left.interface),
            ("ip", "address", "add", "192.168.7.1/24", "dev", "wire0"),
        ):
            left.space.run(*command)
        before = left.space.output("ip", "route") + left.space.output("ip", "-6", "route")
        assert left.steps(wanted(left, right, "ours")) == ()
        for destination, said in (
            ("10.70.0.0/16", "another route"),
            ("fd70::/64", "another route"),
            ("10.71.0.0/16", "another route"),
            ("192.168.7.0/24", "own network on wire0"),
        ):
            step = Step(Change("route", "r", "add"), SetRoute(left.interface, Route(destination)))
            assert said in left.complaint(step)
        assert left.space.output("ip", "route") + left.space.output("ip", "-6", "route") == before


def test_a_route_goes_over_to_another_interface_at_once(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        first = wanted(left, right, "ours")
        left.apply(first)
        second = replace(first.interfaces[0], name=interface_name("h"), listen_port=51821)
        emptied = replace(first.interfaces[0], routes=())
        left.apply(replace(first, interfaces=(emptied, second)))
        for family, prefix in (("-4", "10.66.0.0/16"), ("-6", "fd66::/64")):
            routes = left.space.output("ip", family, "route", "show", prefix)
            assert routes.startswith(prefix)
            assert f"dev {second.name} " in routes
            assert len(routes.splitlines()) == 1


def test_an_interface_of_that_name_that_is_not_wireguards(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, _):
        left.space.run("ip", "link", "add", left.interface, "type", "bridge")
        assert left.observe().interfaces == ()
        complaint = left.complaint(
            Step(Change("interface", left.interface, "add"), AddInterface(left.interface, "auto"))
        )
        assert "not WireGuard's (bridge)" in complaint


def test_a_host_without_ipv6_says_so(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        left.space.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        left.space.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        problems = []
        with inside(left.space):
            for step in converge(wanted(left, right, "ours"), Observed(), None):
                try:
                    left.host.execute(step, left.secrets)
                except HostError as error:
                    problems.append(str(error))
        assert len(problems) == 2
        assert all("disable_ipv6=0" in problem for problem in problems)


def test_forwarding_of_both_families_and_back(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        bundle = replace(wanted(left, right, "ours"), interfaces=())
        settings = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
        off = left.space.output("sysctl", "-n", *settings)
        left.apply(bundle)
        assert left.space.output("sysctl", "-n", *settings).split() == ["1", "1"]
        left.apply(replace(bundle, forwarding=False))
        assert left.space.output("sysctl", "-n", *settings) == off


def test_a_route_of_ours_that_nobody_saw_is_replaced(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, right):
        left.apply(wanted(left, right, "ours"))
        for command in (
            ("ip", "route", "add", "10.70.0.0/16", "dev", "wire0", "proto", "119"),
            ("ip", "-6", "route", "add", "fd70::/64", "dev", "wire0", "proto", "119"),
        ):
            left.space.run(*command)
        with inside(left.space):
            for destination in ("10.70.0.0/16", "fd70::/64"):
                step = Step(Change("route", "r", "add"), SetRoute(left.interface, Route(destination)))
                left.host.execute(step, left.secrets)
        assert {route.destination for route in left.observe().interfaces[0].routes} == {
            "10.66.0.0/16",
            "fd66::/64",
            "10.70.0.0/16",
            "fd70::/64",
        }
        assert "wire0 proto 119" not in left.space.output("ip", "route")


def test_an_old_kernel_that_filters_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 4.20 the option for strict checking does not exist."""

    def old(strict_check: bool = False) -> object:
        if strict_check:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return IPRoute()  # type: ignore[no-untyped-call]

    monkeypatch.setattr("agent.host.network.IPRoute", old)
    with machines("ours", tmp_path) as (left, right):
        left.apply(wanted(left, right, "ours"))
        left.space.run("ip", "route", "add", "10.71.0.0/16", "dev", left.interface)
        assert left.steps(wanted(left, right, "ours")) == ()


def test_a_link_that_is_not_there_is_none(tmp_path: Path) -> None:
    with machines("ours", tmp_path) as (left, _), inside(left.space):
        network = Network()
        assert network.link("nosuch") is None
        network.remove_link("nosuch")
        loopback = network.link("lo")
        assert loopback is not None
        assert "127.0.0.1/8" in network.addresses(loopback.index)
        network.remove_address("lo", "127.0.0.9/8")
        network.remove_route("lo", Route("10.0.0.0/8"))
        network.add_address("lo", "127.0.0.1/8")
