"""An interface in a container's network namespace, its UDP side outside: on real devices of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bundle import Bundle, Gateway, Route
from agent.converge import converge
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.host import Host
from agent.netns import Place
from agent.operations import AddInterface
from agent.report import ObservedInterface
from tests.lab.inside import inside
from tests.lab.namespaces import Namespace, box, wait_until
from tests.lab.test_host import KERNEL, Machine, change, machines, pings, spawner, wanted

pytestmark = pytest.mark.lab
KINDS = pytest.mark.parametrize("kind", [KERNEL, "ours"])


class Boxed(Machine):
    """A machine whose interface belongs into `box`."""

    box: Namespace
    kind: str

    @property
    def places(self) -> list[Place]:
        return [Place(self.interface), Place(self.interface, self.box.name)]

    def found(self, bundle: Bundle) -> tuple[ObservedInterface, ...]:
        with inside(self.space):
            return self.host.observe(bundle, self.secrets, self.places).interfaces

    def come(self, bundle: Bundle) -> None:
        """As the agent does it, which knows where the interface was."""
        for expected in (True, False):
            with inside(self.space):
                observed = self.host.observe(bundle, self.secrets, self.places)
                steps = converge(bundle, observed, self.previous)
                assert bool(steps) is expected, steps
                for step in steps:
                    self.host.execute(step, self.secrets)
        self.previous = bundle

    def nothing_outside(self) -> bool:
        links = self.space.output("ip", "-o", "link")
        return self.interface not in links and "10.66." not in self.space.output("ip", "route")

    def ports(self, space: Namespace) -> str:
        return space.output("ss", "-Hlun", "sport", "=", ":51820")


@contextmanager
def boxed(kind: str, tmp_path: Path) -> Iterator[tuple[Boxed, Machine]]:
    with machines(kind, tmp_path) as (left, right), box(left.space) as inner:
        here = Boxed(left.space, left.number, left.host, left.interface, left.processes)
        here.box, here.kind = inner, kind
        forwarding, firewall = Forwarding(run=tmp_path / "own"), Firewall(tmp_path / "own")
        here.host = Host(
            spawner(here, kind), forwarding=forwarding, firewall=firewall, run=tmp_path / "netns"
        )
        right.apply(wanted(right, left, kind))
        yield here, right


def inner(here: Boxed, right: Machine, **fields: object) -> Bundle:
    return change(wanted(here, right, here.kind), netns=here.box.name, **fields)


def reaches(space: Namespace, address: str) -> bool:
    return not space.run("ping", "-c1", "-W3", address, check=False).returncode


@KINDS
def test_inside_is_the_interface_and_outside_its_udp_side(kind: str, tmp_path: Path) -> None:
    with boxed(kind, tmp_path) as (here, right):
        here.come(inner(here, right))
        assert reaches(here.box, "10.66.0.2")
        assert reaches(here.box, "fd66::2")
        assert pings(right, "10.66.0.1") == 3
        assert here.nothing_outside()
        assert here.ports(here.space)
        assert not here.ports(here.box)

        (seen,) = here.found(inner(here, right))
        assert (seen.netns, seen.mtu, seen.up, seen.answers) == (here.box.name, 1380, True, True)
        link = here.box.output("ip", "-6", "address", "show", "dev", here.interface)
        assert "fe80" not in link
        assert here.box.output("sysctl", "-n", "net.ipv4.ip_forward") == "1"
        assert here.space.output("sysctl", "-n", "net.ipv4.ip_forward") == "0"

        here.come(inner(here, right, mtu=1300, addresses=("10.66.0.1/32", "10.66.0.7/32", "fd66::1/128")))
        assert "mtu 1300" in here.box.output("ip", "link", "show", here.interface)
        assert "10.66.0.7" in here.box.output("ip", "address")
        assert reaches(here.box, "10.66.0.2")


@KINDS
def test_everything_goes_through_the_tunnel_but_its_own_datagrams(kind: str, tmp_path: Path) -> None:
    """A default route in the namespace needs no rules: what goes outside is not in it."""
    with boxed(kind, tmp_path) as (here, right):
        bundle = inner(here, right, routes=(Route("0.0.0.0/0", "10.66.0.1"),))
        (peer,) = bundle.interfaces[0].peers
        everything = replace(peer, allowed_ips=("0.0.0.0/0",))
        here.come(change(bundle, peers=(everything,)))
        assert f"default dev {here.interface}" in here.box.output("ip", "route")
        right.space.run("ip", "address", "add", "198.18.0.1/32", "dev", "lo")
        assert reaches(here.box, "198.18.0.1")


@KINDS
def test_in_and_out_by_apply_and_gone_without_a_trace(kind: str, tmp_path: Path) -> None:
    with boxed(kind, tmp_path) as (here, right):
        before = picture(here.space), picture(here.box)
        outer, gateway = wanted(here, right, kind), Gateway(clamp_mss=True)
        here.come(change(outer, gateway=gateway))
        assert pings(here, "10.66.0.2") == 3
        here.come(inner(here, right, gateway=gateway))
        assert here.nothing_outside()
        assert reaches(here.box, "10.66.0.2")
        assert "fleet-" in here.box.output("nft", "list", "tables")
        assert "fleet-" not in here.space.output("nft", "list", "tables")
        here.come(change(outer, gateway=gateway))
        assert "fleet-" not in here.box.output("nft", "list", "tables")
        assert here.interface not in here.box.output("ip", "-o", "link")
        assert pings(here, "10.66.0.2") == 3
        here.come(inner(here, right, gateway=gateway))
        here.come(replace(outer, interfaces=(), forwarding=False))
        for now, then in zip((picture(here.space), picture(here.box)), before):
            assert now == then
        wait_until(lambda: all(p.poll() is not None for p in here.processes), "the end of the tunnels")


def picture(space: Namespace) -> list[str]:
    looks: tuple[str, ...] = (
        "ip -o link",
        "ip address",
        "ip route",
        "ip -6 route show table main",
        "ip rule",
    )
    looks += ("nft list ruleset", "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding", "ss -Hlun")
    return [space.output(*look.split()).replace(" tentative", "") for look in looks]


@KINDS
def test_a_namespace_that_is_missing_is_named_and_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    with boxed(kind, tmp_path) as (here, right):
        here.come(wanted(here, right, kind))
        missing = change(wanted(here, right, kind), netns="no-such-box")
        (step, *_) = here.steps(missing)
        assert isinstance(step.operation, AddInterface)
        said = here.complaint(step)
        assert said.startswith(f"{here.interface}: this host has no network namespace no-such-box")
        assert pings(here, "10.66.0.2") == 3


@KINDS
def test_a_namespace_that_goes_takes_the_interface_and_a_new_one_gets_another(
    kind: str, tmp_path: Path
) -> None:
    with boxed(kind, tmp_path) as (here, right):
        bundle = inner(here, right)
        here.come(bundle)
        assert reaches(here.box, "10.66.0.2")
        here.box.remake()
        if kind == "ours":
            wait_until(lambda: here.processes[0].poll() is not None, "the end of the tunnel")
        wait_until(lambda: not here.ports(here.space), "the end of the UDP side")
        assert here.found(bundle) == ()
        here.come(bundle)
        assert reaches(here.box, "10.66.0.2")
        assert here.nothing_outside()


def test_a_tunnel_whose_namespace_lost_its_name_is_ended(tmp_path: Path) -> None:
    with boxed("ours", tmp_path) as (here, right):
        bundle = inner(here, right)
        here.come(bundle)
        keeper = here.box.start("sh", "-c", "echo in; exec sleep 60")
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "in\n"
        here.box.remake()
        (stray,) = here.found(bundle)
        assert (stray.netns, stray.answers) == (here.box.name, False)
        here.come(bundle)
        assert here.processes[0].wait(10) != 0
        assert reaches(here.box, "10.66.0.2")


def test_what_was_made_and_not_moved_is_mended(tmp_path: Path) -> None:
    """An agent that was killed in between left the device outside."""
    with boxed("ours", tmp_path) as (here, right):
        with inside(here.space):
            here.host._devices._tunnels.start(here.interface)
        (half,) = here.found(inner(here, right))
        assert half.netns is None
        here.come(inner(here, right))
        assert here.nothing_outside()
        assert reaches(here.box, "10.66.0.2")


@KINDS
def test_an_interface_of_this_name_outside_is_left_alone(kind: str, tmp_path: Path) -> None:
    with boxed(kind, tmp_path) as (here, right):
        bundle = inner(here, right)
        here.come(bundle)
        here.space.run("ip", "link", "add", here.interface, "type", "veth", "peer", "other0")
        with inside(here.space):
            made = [Place(here.interface, here.box.name)]
            assert converge(bundle, here.host.observe(bundle, here.secrets, made), bundle) == ()
            gone = replace(bundle, interfaces=())
            for step in converge(gone, here.host.observe(gone, here.secrets, made), bundle):
                here.host.execute(step, here.secrets)
        assert here.interface not in here.box.output("ip", "-o", "link")
        assert here.interface in here.space.output("ip", "-o", "link")
        (step, *_) = converge(bundle, here.observe(), None)
        assert "exist" in here.complaint(step)
