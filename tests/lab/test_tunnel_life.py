"""How our tunnel starts, follows its link, and ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.namespaces import Namespace, interface_name, wait_until, wired_pair
from tests.lab.tunnels import COMMANDS, PORT, Tunnel, introduce, ping, start, wait_for_pings

pytestmark = pytest.mark.lab

Pair = tuple[Tunnel, Tunnel]


@pytest.fixture
def spaces() -> Iterator[tuple[Namespace, Namespace]]:
    with wired_pair() as pair:
        yield pair


@pytest.fixture
def pair(spaces: tuple[Namespace, Namespace]) -> Pair:
    """Ours and wireguard-go, who have spoken."""
    ours, other = start(spaces[0], "ours"), start(spaces[1], "wireguard-go")
    introduce(ours, other)
    assert ping(ours, other.inner4) == 3
    return ours, other


def run(space: Namespace, interface: str, *wrapper: str) -> str:
    """What a tunnel that cannot start says."""
    done = space.run(*wrapper, *COMMANDS["ours"], interface, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


def exists(space: Namespace, interface: str) -> bool:
    return space.run("ip", "link", "show", interface, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_gracefully(spaces: tuple[Namespace, Namespace], number: signal.Signals) -> None:
    ours = start(spaces[0], "ours")
    assert ours.signal(number) == 0
    assert not ours.control.exists()
    assert not exists(ours.space, ours.interface)


def test_removal_of_the_device_ends_it(pair: Pair) -> None:
    ours, _ = pair
    ours.ip("link", "delete", ours.interface)
    assert ours.process.wait(10) == 0
    assert not ours.control.exists()


def test_deletion_of_the_control_socket_ends_it(pair: Pair) -> None:
    ours, _ = pair
    ours.control.unlink()
    assert ours.process.wait(10) == 0
    assert not exists(ours.space, ours.interface)


def test_a_device_that_is_there_already_is_left_alone(pair: Pair) -> None:
    ours, other = pair
    assert run(ours.space, ours.interface) == (
        f"fleet-agent tunnel {ours.interface}: cannot make the network device {ours.interface}: "
        "a network device of this name exists already"
    )
    assert "a network device of this name exists already" in run(ours.space, "wire0")
    assert ping(ours, other.inner4) == 3


def test_the_control_socket_of_a_live_tunnel_is_left_alone(pair: Pair) -> None:
    ours, other = pair
    assert "unix socket in use" in run(other.space, ours.interface)
    assert not exists(other.space, ours.interface)
    assert ping(ours, other.inner4) == 3


@pytest.mark.parametrize("name", ["", "..", "a/b", "sixteen-letters-", "a b", "wg%d"])
def test_a_name_that_no_device_may_have(spaces: tuple[Namespace, Namespace], name: str) -> None:
    assert "an interface name has 1 to 15" in run(spaces[0], name)


def test_an_mtu_that_no_device_may_have(spaces: tuple[Namespace, Namespace]) -> None:
    interface = interface_name()
    start_it = f"import agent.tunnel.main as m, sys; sys.exit(m.run('{interface}', 60))"
    done = spaces[0].run(sys.executable, "-c", start_it, check=False)
    assert done.returncode == 1
    assert f"cannot give {interface} an MTU of 60 bytes: Invalid argument" in done.stderr
    assert not exists(spaces[0], interface)


def test_without_the_right_to_make_devices(spaces: tuple[Namespace, Namespace]) -> None:
    said = run(spaces[0], interface_name(), "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "only root may make a network device (CAP_NET_ADMIN)" in said


def test_closed_standard_streams_are_no_reason_to_end(spaces: tuple[Namespace, Namespace]) -> None:
    left, right = spaces
    ours = start(left, "ours", None, "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    other = start(right, "wireguard-go")
    left.start(sys.executable, "-c", _OCCUPY)
    wait_until(lambda: str(PORT) in left.output("ss", "-lnuH"), "the port is taken")
    introduce(ours, other)
    time.sleep(1.2)  # two complaints that nobody can hear
    assert ours.process.poll() is None
    ours.set("listen-port", "7")
    wait_for_pings(ours, other.inner4)


_OCCUPY = f"""
import socket, time
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("", {PORT}))
time.sleep(60)
"""


def test_a_port_that_is_taken_when_the_link_comes_up(spaces: tuple[Namespace, Namespace]) -> None:
    left, right = spaces
    ours, other = start(left, "ours"), start(right, "wireguard-go")
    occupant = left.start(sys.executable, "-c", _OCCUPY)
    wait_until(lambda: str(PORT) in left.output("ss", "-lnuH"), "the port is taken")
    introduce(ours, other)
    assert ours.process.stdout is not None
    assert next(line for line in ours.process.stdout if ": without " not in line) == (
        f"fleet-agent tunnel {ours.interface}: cannot listen on UDP port {PORT}: Address already in use; "
        "set another one with `wg`, or free it\n"
    )
    occupant.kill()
    wait_for_pings(ours, other.inner4)


def test_keys_never_reach_a_core_file(pair: Pair) -> None:
    ours, _ = pair
    (pid,) = (
        int(word) for word in ours.space.output("pgrep", "-f", f"agent.tunnel {ours.interface}$").split()
    )
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    asked = (
        "import agent.tunnel.main as m, ctypes; m._keep_memory_private(); print(ctypes.CDLL(None).prctl(3))"
    )
    assert subprocess.run((sys.executable, "-c", asked), capture_output=True, text=True).stdout == "0\n"


def test_the_link_goes_down_and_up(pair: Pair) -> None:
    ours, other = pair
    ours.ip("link", "set", ours.interface, "down")
    assert ping(other, ours.inner4, 1) == 0
    assert f":{PORT} " not in ours.space.output("ss", "-lnuH")
    assert ours.show("listen-port") == str(PORT)
    ours.ip("link", "set", ours.interface, "up")
    ours.ip("address", "replace", f"{ours.inner6}/64", "dev", ours.interface, "nodad")
    wait_for_pings(ours, other.inner4)
    assert ping(other, ours.inner6) == 3


def test_padding_follows_the_mtu(pair: Pair) -> None:
    ours, other = pair
    assert _size_of_a_packet_of_1000(ours, other) == 1008
    ours.ip("link", "set", ours.interface, "mtu", "1000")
    wait_until(lambda: _size_of_a_packet_of_1000(ours, other) == 1000, "padding ends at the MTU")


def _size_of_a_packet_of_1000(ours: Tunnel, other: Tunnel) -> int:
    before = ours.transfer().sent
    assert ping(ours, other.inner4, 1, "-s", "972") == 1
    return ours.transfer().sent - before - 32


def test_it_works_in_the_namespace_that_it_was_moved_to(pair: Pair) -> None:
    ours, other = pair
    with wired_pair() as (elsewhere, _):
        ours.ip("link", "set", ours.interface, "netns", elsewhere.name)
        ours.space = elsewhere
        ours.ip("link", "set", ours.interface, "name", "wg0")
        ours.interface, former = "wg0", ours.interface
        ours.up()
        wait_for_pings(ours, other.inner4)
        assert ping(other, ours.inner4) == 3
        ours.ip("link", "set", "wg0", "down")
        ours.interface = former
        wait_until(lambda: ping(other, ours.inner4, 1) == 0, "down there")
        ours.ip("link", "delete", "wg0")
        assert ours.process.wait(10) == 0


def test_a_host_with_ipv6_disabled(spaces: tuple[Namespace, Namespace]) -> None:
    left, right = spaces
    left.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    ours, other = start(left, "ours"), start(right, "wireguard-go")
    for here, there in ((ours, other), (other, ours)):
        here.set("peer", there.public_key, "endpoint", f"{there.space.v4}:{PORT}", "allowed-ips", "0.0.0.0/0")
        here.ip("address", "add", f"{here.inner4}/24", "dev", here.interface)
        here.ip("link", "set", here.interface, "up")
    assert ping(ours, other.inner4) == 3
    assert ping(other, ours.inner4) == 3


def test_an_address_without_a_peer_is_unreachable_at_once(pair: Pair) -> None:
    ours, _ = pair
    done = ours.space.run("ping", "-c", "1", "-W", "5", "10.66.0.254", check=False)
    assert "Destination Host Unreachable" in done.stdout


def test_handshakes_carry_their_class_of_service(spaces: tuple[Namespace, Namespace]) -> None:
    left, right = spaces
    ours = start(left, "ours")
    stranger = "A" * 42 + "E="
    for version, endpoint in ((4, f"{right.v4}:9"), (6, f"[{right.v6}]:9")):
        listener = right.start(sys.executable, "-c", _CLASS_OF_SERVICE, str(version))
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        ours.set("peer", stranger, "remove")
        ours.set("peer", stranger, "endpoint", endpoint, "persistent-keepalive", "1")
        if version == 4:
            ours.up()
        assert listener.stdout.readline() == "148 136\n"


_CLASS_OF_SERVICE = """
import socket, sys
v4 = sys.argv[1] == "4"
sock = socket.socket(socket.AF_INET if v4 else socket.AF_INET6, socket.SOCK_DGRAM)
sock.setsockopt(*((socket.IPPROTO_IP, 13, 1) if v4 else (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)))
sock.bind(("", 9))
print("ready", flush=True)
data, ancillary, _, _ = sock.recvmsg(2000, 100)
print(len(data), ancillary[0][2][0], flush=True)
"""


def test_a_hub_sends_no_redirects(pair: Pair) -> None:
    """A packet from spoke to spoke leaves where it came in; the kernel's device tells nobody either."""
    ours, _ = pair
    for device in (ours.interface, "all"):
        assert ours.space.output("sysctl", "-n", f"net.ipv4.conf.{device}.send_redirects") == "0"
