"""The host layer over parts that only remember: which kind of device is asked what, and what is said."""

from __future__ import annotations

import base64
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional, cast

import pytest

from agent.bundle import Backend, Bundle, Interface, Route
from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState, SocketAddress
from agent.host.errors import HostError, SilentError
from agent.host.forwarding import Forwarding
from agent.host.host import Host
from agent.host.network import LinkState, Network
from agent.host.resolve import ResolveError, Resolver
from agent.host.userspace import UserspaceDevice
from agent.netns import Place
from agent.operations import (
    AddAddress,
    AddInterface,
    Operation,
    RemoveAllowedIPs,
    RemoveInterface,
    RemovePeer,
    RemoveRoute,
    SetDevice,
    SetForwarding,
    SetLink,
    SetPeer,
    SetRoute,
    Step,
)
from agent.report import FOREIGN, Change, ObservedInterface, ObservedPeer
from agent.secret import Secret, SecretRef, Secrets

KEY, PSK = SecretRef("key/a", 1), SecretRef("psk/a~b", 1)
PEER = bytes([2]) * 32
SECRETS = Secrets([(KEY, Secret(bytes([8]) * 32)), (PSK, Secret(bytes([9]) * 32))])
NOTHING = Change("interface", "wg0", "add")


class FakeNetwork:
    """Links by name; every change is remembered, `fails` says which ones are refused."""

    def __init__(self, **links: LinkState) -> None:
        self.links = links
        self.done: list[tuple[Any, ...]] = []
        self.fails: dict[str, int] = {}
        self.owned: Optional[str] = None

    def link(self, name: str) -> Optional[LinkState]:
        return self.links.get(name)

    def addresses(self, index: int) -> tuple[str, ...]:
        return (f"10.0.0.{index}/32",)

    def routes(self, index: int) -> tuple[Route, ...]:
        return (Route(f"10.{index}.0.0/16"),)

    def owner(self, destination: str, but: str) -> Optional[str]:
        return self.owned

    def add_wireguard(self, name: str, netns: Optional[str] = None) -> None:
        self._do("add_wireguard", name)
        self.links[name] = LinkState(7, "wireguard", False, 1420)

    def remove_link(self, name: str) -> None:
        self._do("remove_link", name)
        del self.links[name]

    @contextmanager
    def paths(self, but: int) -> Iterator[Callable[[str, int], Optional[int]]]:
        yield lambda address, mark: self._do("path_mtu", address, mark, but)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **_: self._do(name, *arguments)

    def _do(self, name: str, *arguments: Any) -> None:
        if name in self.fails:
            raise OSError(self.fails[name], os.strerror(self.fails[name]))
        self.done.append((name, *arguments))


class FakeDevice:
    """A backend; `alive` matters to the one in user space only."""

    def __init__(self, state: DeviceState, alive: bool = True) -> None:
        self.state = state
        self.alive = alive
        self.edits: list[DeviceEdit] = []
        self.fail: Optional[int] = None

    def is_alive(self, _interface: str) -> bool:
        return self.alive

    def remove_stale(self, _interface: str) -> None:
        pass

    def silence(self, _interface: str) -> float:
        return 1.0 if self.fail == errno.ETIMEDOUT else 0.0

    def read(self, _interface: str) -> DeviceState:
        self._check()
        return self.state

    def write(self, _interface: str, edit: DeviceEdit) -> None:
        self._check()
        self.edits.append(edit)

    def _check(self) -> None:
        if self.fail is not None:
            raise OSError(self.fail, os.strerror(self.fail))


class FakeForwarding:
    def __init__(self) -> None:
        self.on = False

    def is_on(self) -> bool:
        return self.on

    def switch_on(self) -> None:
        self.on = True

    def switch_off(self) -> None:
        self.on = False


class FakeResolver:
    def resolve(self, endpoint: str) -> SocketAddress:
        if "nosuch" in endpoint:
            raise ResolveError("Name or service not known")
        return SocketAddress("192.0.2.7", 5)


class World:
    """A host and its parts; `links` are those that there are."""

    def __init__(self, **links: LinkState) -> None:
        self.network = FakeNetwork(**links)
        self.kernel = FakeDevice(DeviceState(listen_port=1))
        self.userspace = FakeDevice(DeviceState(listen_port=2))
        self.forwarding = FakeForwarding()
        self.spawned: list[str] = []
        self.host = Host(
            self._spawn,
            network=cast(Network, self.network),
            kernel=self.kernel,
            userspace=cast(UserspaceDevice, self.userspace),
            forwarding=cast(Forwarding, self.forwarding),
            resolver=cast(Resolver, FakeResolver()),
        )

    def execute(self, operation: Operation) -> None:
        self.host.execute(Step(NOTHING, operation), SECRETS)

    def complaint(self, operation: Operation) -> str:
        with pytest.raises(HostError) as caught:
            self.execute(operation)
        return str(caught.value)

    def _spawn(self, interface: str) -> subprocess.Popen[bytes]:
        self.spawned.append(interface)
        return subprocess.Popen(["false"])


KERNEL, TUNNEL = LinkState(3, "wireguard", True, 1420), LinkState(4, "tun", False, 1400)


def bundle(*names: str) -> Bundle:
    public_key = base64.b64encode(bytes(32)).decode()
    made = (Interface(name, "auto", KEY, public_key, 0, 1420, (), (), ()) for name in names)
    return Bundle(1, "0" * 32, "t", "a", 1, tuple(made))


def test_both_kinds_are_observed_with_what_the_kernel_knows_of_their_links() -> None:
    world = World(wg0=KERNEL, old=TUNNEL)
    world.kernel.state = DeviceState(
        private_key=bytes([8]) * 32,
        public_key=PEER,
        listen_port=51820,
        fwmark=7,
        peers=(
            PeerState(PEER, bytes([9]) * 32, "192.0.2.1:5", ("10.0.0.9/32",), 25, 1_500_000_000, 10, 20),
            PeerState(bytes(32), preshared_key=bytes([77]) * 32),
        ),
    )
    observed = world.host.observe(bundle("wg0"), SECRETS, map(Place, ["old", "wg0", "gone"]))
    assert observed.interfaces == (
        ObservedInterface(
            name="wg0",
            backend="kernel",
            up=True,
            mtu=1420,
            private_key=KEY,
            public_key=base64.b64encode(PEER).decode(),
            listen_port=51820,
            fwmark=7,
            addresses=("10.0.0.3/32",),
            routes=(Route("10.3.0.0/16"),),
            peers=(
                ObservedPeer(
                    base64.b64encode(PEER).decode(), PSK, "192.0.2.1:5", ("10.0.0.9/32",), 25, 1.5, 10, 20
                ),
                ObservedPeer(base64.b64encode(bytes(32)).decode(), FOREIGN),
            ),
        ),
        ObservedInterface(
            name="old",
            backend="userspace",
            up=False,
            mtu=1400,
            listen_port=2,
            addresses=("10.0.0.4/32",),
            routes=(Route("10.4.0.0/16"),),
        ),
    )
    assert not observed.forwarding


@pytest.mark.parametrize("link", [LinkState(3, "bridge", True, 1500), LinkState(3, None, True, 1500), TUNNEL])
def test_what_is_not_wireguards_is_no_device_of_ours(link: LinkState) -> None:
    world = World(wg0=link)
    world.userspace.alive = False
    assert world.host.observe(bundle("wg0"), SECRETS, []).interfaces == ()


def test_a_device_that_vanishes_under_our_eyes_is_none() -> None:
    world = World(wg0=KERNEL)
    world.kernel.fail = errno.ENODEV
    assert world.host.observe(bundle("wg0"), SECRETS, []).interfaces == ()


def test_of_a_tunnel_that_does_not_answer_the_kernel_still_tells() -> None:
    world = World(wg0=TUNNEL, wg1=KERNEL)
    world.userspace.fail = errno.ETIMEDOUT
    silent, other = world.host.observe(bundle("wg0", "wg1"), SECRETS, []).interfaces
    assert silent == ObservedInterface(
        "wg0",
        "userspace",
        up=False,
        mtu=1400,
        addresses=("10.0.0.4/32",),
        routes=(Route("10.4.0.0/16"),),
        answers=False,
    )
    assert other.answers


def test_a_tunnel_that_does_not_answer_is_not_changed_nor_ended_at_once() -> None:
    world = World(wg0=TUNNEL)
    world.userspace.fail = errno.ETIMEDOUT
    for operation in (SetDevice("wg0", fwmark=1), AddInterface("wg0", "auto", instead=True)):
        with pytest.raises(SilentError, match=r"^wg0: .*does not answer"):
            world.execute(operation)
    assert (world.network.done, world.spawned) == ([], [])


def test_whatever_cannot_be_observed_is_said_and_no_fault() -> None:
    """A fault would not be tried again."""
    world = World(wg0=KERNEL)
    world.network.fails["path_mtu"] = errno.ENOBUFS
    wanted = bundle("wg0")
    unsized = replace(wanted, interfaces=(replace(wanted.interfaces[0], mtu=None),))
    observed = world.host.observe(unsized, SECRETS, ())
    with pytest.raises(HostError, match="cannot be observed: No buffer space"):
        world.host.fitting(unsized, observed)


def test_the_mtu_fits_where_it_is_left_to_the_host() -> None:
    world = World(wg0=KERNEL, wg1=KERNEL)
    wanted = bundle("wg0", "wg1", "wg2")
    free = tuple(replace(one, mtu=None) if one.name != "wg1" else one for one in wanted.interfaces)
    unsized = replace(wanted, interfaces=free)
    observed = world.host.observe(unsized, SECRETS, ())
    assert world.host.fitting(unsized, observed) == {"wg0": 1420}


def test_auto_is_the_kernels_where_it_can() -> None:
    world = World()
    world.execute(AddInterface("wg0", "auto"))
    assert (world.network.done, world.spawned) == ([("add_wireguard", "wg0")], [])


@pytest.mark.parametrize("backend", ["auto", "userspace"])
def test_without_the_kernels_a_tunnel_process_is_started(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.userspace.alive = False
    world.network.fails["add_wireguard"] = errno.EOPNOTSUPP
    monkeypatch.setattr("agent.host.tunnel._TUN", Path("/dev/null"))
    complaint = world.complaint(AddInterface("wg0", backend))
    assert world.spawned == ["wg0"]
    assert complaint.startswith("wg0: the tunnel process ended at once: with status 1 and")


def test_a_kernel_that_must_but_cannot_is_an_error_with_the_remedy() -> None:
    world = World()
    world.network.fails["add_wireguard"] = errno.EOPNOTSUPP
    assert "fleet_backend: auto" in world.complaint(AddInterface("wg0", "kernel"))
    assert world.spawned == []


def test_without_the_tun_driver_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.userspace.alive = False
    monkeypatch.setattr("agent.host.tunnel._TUN", Path("/nowhere/tun"))
    assert "modprobe tun" in world.complaint(AddInterface("wg0", "userspace"))
    assert world.spawned == []


def test_a_name_that_somebody_else_has_is_left_to_them() -> None:
    world = World(wg0=LinkState(3, "bridge", True, 1500))
    complaint = world.complaint(AddInterface("wg0", "auto"))
    assert "bridge" in complaint
    assert world.network.done == []
    world.execute(RemoveInterface("wg0"))
    assert world.network.done == []


def test_a_device_of_the_other_kind_goes_first() -> None:
    world = World(wg0=KERNEL)
    world.execute(AddInterface("wg0", "kernel", instead=True))
    assert world.network.done == [("remove_link", "wg0"), ("add_wireguard", "wg0")]


def test_requests_go_to_the_device_that_there_is() -> None:
    world = World(wg0=KERNEL, wg1=TUNNEL)
    world.execute(SetDevice("wg0", private_key=KEY))
    world.execute(SetDevice("wg1", listen_port=5, fwmark=0))
    assert world.kernel.edits == [DeviceEdit(private_key=bytes([8]) * 32)]
    assert world.userspace.edits == [DeviceEdit(listen_port=5, fwmark=0)]


def test_a_peer_is_set_with_its_secret_and_its_resolved_endpoint() -> None:
    world = World(wg0=KERNEL)
    public_key = base64.b64encode(PEER).decode()
    world.execute(SetPeer("wg0", "oslo", public_key, True, PSK, False, "oslo.example.net:5", 25, ("::/0",)))
    world.execute(SetPeer("wg0", "oslo", public_key, no_preshared_key=True))
    new = PeerEdit(PEER, True, False, bytes([9]) * 32, SocketAddress("192.0.2.7", 5), 25, ("::/0",))
    assert world.kernel.edits == [
        DeviceEdit(peers=(new,)),
        DeviceEdit(peers=(PeerEdit(PEER, preshared_key=bytes(32)),)),
    ]


def test_a_name_that_does_not_resolve_costs_nothing_but_the_endpoint() -> None:
    world = World(wg0=KERNEL)
    public_key = base64.b64encode(PEER).decode()
    complaint = world.complaint(
        SetPeer("wg0", "oslo", public_key, new=True, endpoint="nosuch.example.net:5", allowed_ips=("::/0",))
    )
    assert "peer oslo" in complaint
    assert "nosuch.example.net:5 does not resolve (Name or service not known)" in complaint
    assert world.kernel.edits == [DeviceEdit(peers=(PeerEdit(PEER, new=True, allowed_ips=("::/0",)),))]


def test_prefixes_are_taken_in_one_request_by_a_peer_that_does_not_stay() -> None:
    world = World(wg0=KERNEL)
    world.execute(RemoveAllowedIPs("wg0", "oslo", base64.b64encode(PEER).decode(), ("10.0.0.0/8",)))
    world.execute(RemoveAllowedIPs("wg0", "oslo", base64.b64encode(PEER).decode(), ("10.0.0.0/8",)))
    takers = []
    for edit in world.kernel.edits:
        take, leave = edit.peers
        assert (take.new, take.allowed_ips, leave) == (
            True,
            ("10.0.0.0/8",),
            PeerEdit(take.public_key, remove=True),
        )
        takers.append(take.public_key)
    assert len({PEER, *takers}) == 3


def test_a_peer_is_removed() -> None:
    world = World(wg0=KERNEL)
    world.execute(RemovePeer("wg0", "oslo", base64.b64encode(PEER).decode()))
    assert world.kernel.edits == [DeviceEdit(peers=(PeerEdit(PEER, remove=True),))]


def test_a_secret_that_is_not_here_is_named() -> None:
    world = World(wg0=KERNEL)
    complaint = world.complaint(SetDevice("wg0", private_key=SecretRef("key/a", 9)))
    assert complaint == "wg0: the key key/a generation 9 is not on this host: apply again"


def test_forwarding_is_switched() -> None:
    world = World()
    world.execute(SetForwarding(True))
    assert world.host.observe(None, SECRETS, []).forwarding
    world.execute(SetForwarding(False))
    assert not world.host.observe(None, SECRETS, []).forwarding


def test_a_network_of_the_host_itself_is_not_routed_away() -> None:
    world = World(wg0=KERNEL)
    world.network.owned = "eth0"
    route = Route("192.168.1.0/24")
    complaint = world.complaint(SetRoute("wg0", route))
    assert "192.168.1.0/24 is this host's own network on eth0" in complaint
    assert world.network.done == []
    world.execute(SetRoute("wg0", route, instead=True))
    assert world.network.done == [("set_route", "wg0", route, True)]


@pytest.mark.parametrize(
    ("part", "number", "operation", "said"),
    [
        ("set_link", errno.EADDRINUSE, SetLink("wg0", up=True), ["wg0", "UDP port", "fleet_listen_port"]),
        ("set_link", errno.EINVAL, SetLink("wg0", mtu=9000), ["wg0", "9000", "Invalid argument"]),
        ("add_address", errno.EPERM, AddAddress("wg0", "10.0.0.1/32"), ["10.0.0.1/32", "root"]),
        ("add_address", errno.EACCES, AddAddress("wg0", "fd00::1/128"), ["fd00::1/128", "disable_ipv6"]),
        ("set_route", errno.EEXIST, SetRoute("wg0", Route("10.0.0.0/8")), ["10.0.0.0/8", "another route"]),
        ("remove_route", errno.EPERM, RemoveRoute("wg0", Route("10.0.0.0/8")), ["10.0.0.0/8", "root"]),
        ("remove_link", errno.EPERM, RemoveInterface("wg0"), ["wg0", "removed", "root"]),
        ("add_wireguard", errno.EPERM, AddInterface("wg9", "auto"), ["wg9", "made", "root"]),
    ],
)
def test_what_the_kernel_refuses_is_said_with_the_remedy(
    part: str, number: int, operation: Operation, said: list[str]
) -> None:
    world = World(wg0=KERNEL)
    world.network.fails[part] = number
    complaint = world.complaint(operation)
    assert all(word in complaint for word in said), complaint
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("number", "operation", "said"),
    [
        (errno.EADDRINUSE, SetDevice("wg0", listen_port=5), ["wg0", "fleet_listen_port"]),
        (errno.ETIMEDOUT, SetDevice("wg0", fwmark=5), ["wg0", "does not answer"]),
        (errno.ECONNREFUSED, SetPeer("wg0", "oslo", base64.b64encode(PEER).decode()), ["oslo", "ended"]),
        (errno.EINVAL, RemovePeer("wg0", "oslo", base64.b64encode(PEER).decode()), ["oslo", "Invalid"]),
    ],
)
def test_what_a_device_refuses_names_the_peer(number: int, operation: Operation, said: list[str]) -> None:
    world = World(wg0=TUNNEL)
    world.userspace.fail = number
    complaint = world.complaint(operation)
    assert all(word in complaint for word in said), complaint


def test_without_a_device_every_step_says_the_same() -> None:
    """So that a device that could not be made is one problem and not fifty."""
    world = World()
    peer = base64.b64encode(PEER).decode()
    operations: list[Operation] = [SetDevice("wg0", fwmark=1), SetPeer("wg0", "oslo", peer, new=True)]
    assert {world.complaint(operation) for operation in operations} == {
        "wg0: there is no such device, so nothing can be set on it"
    }
