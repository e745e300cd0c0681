"""A full tunnel: what goes through the hub, what does not, and that nothing stays behind.

The host under test calls, and is called, over a router; its controller and a server are in networks that it
knows by its default route alone. Its reverse path filter is strict.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.bundle import EVERYTHING, Bundle, Gateway, Interface, Peer, Route
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.host import Host
from agent.host.nftables import Nftables
from agent.host.switch import MarkValidation
from tests.lab.inside import inside
from tests.lab.namespaces import Namespace, interface_name, star, third, wait_until
from tests.lab.test_gateway import call, listen
from tests.lab.test_host import KERNEL, Machine, spawner

pytestmark = pytest.mark.lab
KINDS = pytest.mark.parametrize("kind", [KERNEL, "ours"])

MARK = 8311
LAN = ("198.18.5.0/24", "2001:db8:5::/64")
HOST, HUB = ("10.66.0.1", "fd66::1"), ("10.66.0.2", "fd66::2")
HOST_OUTSIDE, HUB_OUTSIDE = ("198.18.1.2", "2001:db8:1::2"), ("198.18.2.2", "2001:db8:2::2")
SERVER = ("198.18.4.2", "2001:db8:4::2")
OPERATORS = """
rule add priority 32765 fwmark 5 lookup 100
rule add priority 50 to 203.0.113.0/24 lookup 100
route add default via 198.18.1.1 table 100
"""
CONTAINER = """
table ip ports {
    chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 198.18.5.2:7; }
}
"""


@dataclass
class World:
    """`host` is the one under test, `lan` is behind it, `controller` and `server` are beyond the router."""

    router: Namespace
    host: Machine
    hub: Machine
    controller: Namespace
    server: Namespace
    lan: Namespace
    kind: str

    def up(self) -> None:
        self.host.apply(bundle(self, True))

    def down(self) -> None:
        self.host.apply(bundle(self, False))

    def picture(self) -> list[str]:
        """Everything that a full tunnel might leave behind."""
        space = self.host.space
        parts = ("rule", "route show table all", "address")
        commands = [f"ip {family} {part}" for family in ("-4", "-6") for part in parts]
        # not send_redirects, which the kernel's device switches off for good (device.c, wg_open)
        settings = ("src_valid_mark", "rp_filter", "accept_redirects", "forwarding")
        commands += ["nft list ruleset", *(f"sysctl net.ipv4.conf.all.{setting}" for setting in settings)]
        return [space.output(*command.split()) for command in commands]


@contextmanager
def worlds(kind: str, tmp_path: Path) -> Iterator[World]:
    with star("egr", 4) as (router, around), third(around[0], "lan0", 5) as lan:
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for number, space in enumerate(around, 1):
            space.run("ip", "route", "add", "default", "via", f"198.18.{number}.1")
            space.run("ip", "route", "add", "default", "via", f"2001:db8:{number}::1")
        lan.run("ip", "route", "add", "default", "via", "198.18.5.1")
        lan.run("ip", "route", "add", "default", "via", "2001:db8:5::1")
        around[0].run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.wire0.rp_filter=1")
        for line in OPERATORS.strip().splitlines():
            around[0].run("ip", *line.split())
        machines = [machine(space, number, kind, tmp_path) for number, space in enumerate(around[:2], 1)]
        world = World(router, machines[0], machines[1], around[2], around[3], lan, kind)
        ways = ((around[2], HOST_OUTSIDE[1]), (around[1], SERVER[1]), (lan, HOST_OUTSIDE[1]))
        wait_until(lambda: all(reaches(*way) for way in ways), "IPv6 on the wires")
        wait_until(lambda: "tentative" not in around[0].output("ip", "address"), "addresses that stay")
        try:
            world.hub.apply(hub_bundle(world))
            yield world
        finally:
            for one in machines:
                one.end()


def machine(space: Namespace, number: int, kind: str, tmp_path: Path) -> Machine:
    made = Machine(space, number, None, interface_name("e"))  # type: ignore[arg-type]
    made.host = host_layer(made, kind, tmp_path / str(number))
    return made


def host_layer(made: Machine, kind: str, run: Path, nftables: Nftables | None = None) -> Host:
    return Host(
        spawner(made, kind),
        forwarding=Forwarding(run=run),
        firewall=Firewall(run, nftables),
        mark_validation=MarkValidation(run=run),
    )


def bundle(world: World, full: bool) -> Bundle:
    """Of the host under test; without `full` it reaches the fleet alone."""
    everything = EVERYTHING if full else ()
    prefixes = ("10.66.0.0/16", "fd66::/64", *everything)
    hub = Peer("hub", world.hub.public_key, None, f"{HUB_OUTSIDE[0]}:51820", prefixes)
    routes = [Route("10.66.0.0/16", HOST[0]), Route("fd66::/64", HOST[1])]
    routes += [Route(prefix, HOST[":" in prefix], MARK) for prefix in everything]
    return whole(world, world.host, HOST, (hub,), tuple(routes), MARK if full else 0, None)


def hub_bundle(world: World) -> Bundle:
    prefixes = (f"{HOST[0]}/32", f"{HOST[1]}/128", *LAN)
    routes = tuple(Route(prefix, HUB[":" in prefix]) for prefix in prefixes)
    peer = Peer("host", world.host.public_key, None, None, prefixes)
    gateway = Gateway(True, ("wire0",), ("10.66.0.0/16", "fd66::/64", *LAN))
    return whole(world, world.hub, HUB, (peer,), routes, 0, gateway)


def whole(
    world: World,
    here: Machine,
    own: tuple[str, str],
    peers: tuple[Peer, ...],
    routes: tuple[Route, ...],
    mark: int,
    gateway: Gateway | None,
) -> Bundle:
    interface = Interface(
        name=here.interface,
        backend="kernel" if world.kind == "kernel" else "userspace",
        private_key=here.key,
        public_key=here.public_key,
        listen_port=51820,
        mtu=1380,
        addresses=(f"{own[0]}/32", f"{own[1]}/128"),
        peers=peers,
        routes=routes,
        fwmark=mark,
        gateway=gateway,
    )
    return Bundle(1, "0" * 32, "t", f"host{here.number}", 1, (interface,), forwarding=True)


def reaches(space: Namespace, address: str, *options: str) -> bool:
    return not space.run("ping", "-c1", "-W1", *options, address, check=False).returncode


@contextmanager
def session(world: World, version: int = 4) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection from the controller to the host: the host's end, the controller's end."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with inside(world.host.space), closing(socket.socket(family)) as server:
        server.bind(("", 0))
        server.listen()
        with inside(world.controller):
            there = socket.create_connection((HOST_OUTSIDE[version == 6], server.getsockname()[1]), 5)
        here, _ = server.accept()
    with closing(here), closing(there):
        for end in (here, there):
            end.settimeout(5)
        yield here, there


def speaks(sender: socket.socket, receiver: socket.socket) -> None:
    sender.sendall(b"word")
    assert receiver.recv(9) == b"word"


@KINDS
def test_everything_goes_through_the_hub_and_nothing_stays_behind(kind: str, tmp_path: Path) -> None:
    with worlds(kind, tmp_path) as world:
        before = world.picture()
        world.up()
        space = world.host.space
        seen = listen(world.server)
        for caller in (space, world.lan):
            for address, outside in zip(SERVER, HUB_OUTSIDE):
                call(caller, address)
                assert next(seen)[0] == outside
        inside_lan = listen(world.lan)
        for address, own in (("198.18.5.2", "198.18.5.1"), ("2001:db8:5::2", "2001:db8:5::1")):
            call(space, address)
            assert next(inside_lan)[0] == own

        # What the operator asks for by rules comes first.
        with inside(space), socket.socket() as marked:
            marked.setsockopt(socket.SOL_SOCKET, 36, 5)  # SO_MARK
            marked.settimeout(5)
            marked.connect((SERVER[0], 7))
        assert next(seen)[0] == HOST_OUTSIDE[0]

        world.down()
        call(space, SERVER[0])
        assert next(seen)[0] == HOST_OUTSIDE[0]
        world.up()
        world.host.apply(replace(bundle(world, False), interfaces=(), forwarding=False))
        assert world.picture() == before
        assert not list((tmp_path / "1").iterdir())


@pytest.mark.parametrize("tracked", [False, True])
@KINDS
def test_whoever_is_logged_in_stays_so(kind: str, tracked: bool, tmp_path: Path) -> None:
    """Whichever side speaks first after the change, and whether or not connections were tracked before."""
    with worlds(kind, tmp_path) as world, ExitStack() as stack:
        if tracked:
            world.host.space.run("nft", "-f", "-", stdin=CONTAINER)
        ends = [stack.enter_context(session(world, version)) for version in (4, 4, 6, 6)]
        for change in (world.up, world.down, world.up, world.down):
            change()
            for number, (here, there) in enumerate(ends):
                first, second = (here, there) if number % 2 else (there, here)
                speaks(first, second)
                speaks(second, first)


@KINDS
def test_who_calls_from_outside_is_answered_the_way_they_came(kind: str, tmp_path: Path) -> None:
    with worlds(kind, tmp_path) as world:
        world.host.space.run("nft", "-f", "-", stdin=CONTAINER)
        world.up()
        for version, address in ((4, HOST_OUTSIDE[0]), (6, HOST_OUTSIDE[1])):
            assert reaches(world.controller, address)
            with session(world, version) as (here, there):
                speaks(here, there)
                speaks(there, here)
        seen = listen(world.lan)
        call = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080), 5).recv(9).decode())"
        assert world.controller.output(sys.executable, "-c", call, HOST_OUTSIDE[0]) == "hello"
        assert next(seen)[0] == world.controller.v4


@KINDS
def test_connections_that_begin_in_the_tunnel_stay_in_it(kind: str, tmp_path: Path) -> None:
    """Whatever address of the host they are for, and where they are from."""
    with worlds(kind, tmp_path) as world:
        world.up()
        wait_until(lambda: reaches(world.host.space, HUB[0]), "a session with the hub")
        for prefix, way in (("198.18.5.0/24", HUB_OUTSIDE[0]), ("2001:db8:5::/64", HUB_OUTSIDE[1])):
            number = 6 if ":" in prefix else 4
            gateway = "2001:db8:4::1" if number == 6 else "198.18.4.1"
            world.server.run("ip", "route", "replace", prefix, "via", gateway)
            router = ("2001:db8:2::2", "2001:db8:5::1") if number == 6 else ("198.18.2.2", "198.18.5.1")
            world.router.run("ip", "route", "replace", prefix, "via", router[0])
            assert reaches(world.server, router[1]), f"IPv{number} by way of {way}"


@KINDS
def test_nothing_from_outside_gets_to_the_tunnels_address(kind: str, tmp_path: Path) -> None:
    with worlds(kind, tmp_path) as world:
        for (prefix, via), gateway in zip(
            ((f"{HOST[0]}/32", HOST_OUTSIDE[0]), (f"{HOST[1]}/128", HOST_OUTSIDE[1])),
            ("198.18.3.1", "2001:db8:3::1"),
        ):
            world.router.run("ip", "route", "add", prefix, "via", via)
            world.controller.run("ip", "route", "add", prefix, "via", gateway)
        world.down()
        assert reaches(world.controller, HOST[0])
        world.up()
        assert not any(reaches(world.controller, address) for address in HOST)
        assert all(reaches(world.host.space, address) for address in HOST)


@KINDS
def test_a_dead_hub_locks_nobody_out(kind: str, tmp_path: Path) -> None:
    with worlds(kind, tmp_path) as world:
        world.up()
        world.hub.space.run("ip", "link", "set", "wire0", "down")
        assert not reaches(world.host.space, SERVER[0])
        with session(world) as (here, there):
            speaks(there, here)
            world.down()
            speaks(here, there)
        assert reaches(world.host.space, SERVER[0])


def test_what_hands_did_is_seen_and_mended(tmp_path: Path) -> None:
    with worlds("ours", tmp_path) as world:
        world.up()
        wanted, space, name = bundle(world, True), world.host.space, world.host.interface
        for command, layers in (
            ("ip rule delete priority 32764", ["egress"]),
            ("ip -6 rule delete priority 32765", ["egress"]),
            ("sysctl -qw net.ipv4.conf.all.src_valid_mark=0", ["egress"]),
            (f"ip route flush table {MARK}", ["route"]),
            (f"nft flush table inet fleet-{name}", ["firewall"]),
            (f"nft delete table inet fleet-{name}", ["firewall"]),
            (f"wg set {name} fwmark 0", ["device"]),
        ):
            space.run(*command.split())
            done = world.host.apply(wanted)
            assert [change.layer for change in done] == layers, command
        world.host.host = host_layer(world.host, "ours", tmp_path / "1")
        assert world.host.steps(wanted) == ()  # the next agent knows what this one wrote
        seen = listen(world.server)
        call(space, SERVER[0])
        assert next(seen)[0] == HUB_OUTSIDE[0]


def test_a_host_without_nftables_is_told_so(tmp_path: Path) -> None:
    with worlds("ours", tmp_path) as world:
        world.host.host = host_layer(world.host, "ours", tmp_path / "1", Nftables(str(tmp_path / "nft")))
        first = world.host.steps(bundle(world, True))[0]
        assert "full tunnel needs the program nft" in world.host.complaint(first)
