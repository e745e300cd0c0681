"""The tunnel with every way of saving system calls, and with each one left out: the same bytes arrive."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator

import pytest

from tests.lab.namespaces import Namespace, third, wait_until, wired_pair
from tests.lab.tunnels import Kind, Program, Tunnel, introduce, ping, start, wait_for_pings

pytestmark = pytest.mark.lab

WITHOUT = ["", "gso", "gro", "vnet", "gso,gro,vnet"]
_PORT = 7000
_TCP_BYTES = 12 << 20
_DATAGRAMS = 3000

_SERVER = f"""
import hashlib, socket, sys
server = socket.create_server(("::", {_PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
print("listens", flush=True)
while True:
    client, _ = server.accept()
    client.settimeout(30)
    with client:
        size, digest = int(client.recv(12)), hashlib.sha256()
        client.sendall(b"?")
        while size:
            data = client.recv(65536)
            size -= len(data)
            digest.update(data)
        client.sendall(digest.hexdigest().encode())
        back = int(client.recv(12))
        client.sendall(hashlib.shake_256(b"back").digest(back))
"""

_CLIENT = """
import hashlib, itertools, json, socket, sys
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = hashlib.shake_256(b"there").digest(size)
with socket.create_connection((address, port), timeout=30) as server:
    server.sendall(b"%12d" % size)
    server.recv(1)
    at = 0
    for step in itertools.count():
        piece = data[at : at + (step * 7919) % 70000 + 1]
        if not piece:
            break
        server.sendall(piece)
        at += len(piece)
    incoming = server.makefile("rb")
    arrived = incoming.read(64).decode()
    server.sendall(b"%12d" % size)
    back = incoming.read(size)
print(json.dumps([arrived, hashlib.sha256(back).hexdigest()]))
"""


@pytest.fixture(params=WITHOUT, ids=lambda without: f"without {without or 'nothing'}")
def without(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spaces() -> Iterator[tuple[Namespace, Namespace]]:
    with wired_pair() as pair:
        yield pair


def ours(space: Namespace, without: str) -> Tunnel:
    return start(space, "ours", None, "env", f"FLEET_TUNNEL_WITHOUT={without}")


def serve(space: Namespace) -> None:
    process = space.start(sys.executable, "-c", _SERVER)
    assert process.stdout is not None
    assert process.stdout.readline() == "listens\n"


def exchange(space: Namespace, address: str, size: int = _TCP_BYTES) -> None:
    """As many bytes there as back, over one TCP connection; all of them arrive as they were sent."""
    output = space.run(sys.executable, "-c", _CLIENT, address, str(_PORT), str(size), timeout=60).stdout
    expected = [
        hashlib.sha256(hashlib.shake_256(word).digest(size)).hexdigest() for word in (b"there", b"back")
    ]
    assert json.loads(output) == expected


@pytest.mark.parametrize("other", ["ours", "wireguard-go"])
def test_a_stream_arrives_as_it_was_sent(
    spaces: tuple[Namespace, Namespace], without: str, other: Kind
) -> None:
    here, there = ours(spaces[0], without), start(spaces[1], other)
    introduce(here, there)
    wait_for_pings(here, there.inner4)
    serve(there.space)
    for address in (there.inner4, there.inner6):
        exchange(here.space, address)


def test_a_stream_through_a_gateway_arrives_as_it_was_sent(
    spaces: tuple[Namespace, Namespace], without: str
) -> None:
    """Where packets are passed on, merged ones included, and the link behind has a smaller MTU."""
    here, gateway = ours(spaces[0], without), ours(spaces[1], without)
    introduce(here, gateway)
    wait_for_pings(here, gateway.inner4)
    with third(gateway.space, "wire1", 77) as behind:
        gateway.space.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for space, wire in ((gateway.space, "wire1"), (behind, "wire0")):
            space.run("ip", "link", "set", wire, "mtu", "1300")
        behind.run("ip", "route", "add", f"{here.inner4}/32", "via", "198.18.77.1")
        behind.run("ip", "route", "add", f"{here.inner6}/128", "via", "2001:db8:77::1")
        here.set(
            *("peer", gateway.public_key, "allowed-ips"),
            f"{gateway.inner4}/32,{gateway.inner6}/128,198.18.77.0/24,2001:db8:77::/64",
        )
        here.ip("route", "add", "198.18.77.0/24", "dev", here.interface)
        here.ip("-6", "route", "add", "2001:db8:77::/64", "dev", here.interface)
        serve(behind)
        for address in (behind.v4, behind.v6):
            exchange(here.space, address, 2 << 20)


def test_datagrams_of_every_size_arrive_once_and_in_order(
    spaces: tuple[Namespace, Namespace], without: str
) -> None:
    """Up to the MTU, in bursts; none is lost, as no buffer is as full as that."""
    here, there = ours(spaces[0], without), ours(spaces[1], without)
    introduce(here, there)
    wait_for_pings(here, there.inner4)
    receiver = there.space.start(sys.executable, "-c", _RECEIVER, str(_DATAGRAMS))
    wait_until(lambda: str(_PORT) in there.space.output("ss", "-lnuH"), "the receiver listens")
    here.space.run(sys.executable, "-c", _SENDER, there.inner4, str(_DATAGRAMS), timeout=60)
    output, _ = receiver.communicate(timeout=60)
    assert output == "all\n"


_RECEIVER = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    sock.bind(("0.0.0.0", {_PORT}))
    sock.settimeout(20)
    for number in range(int(sys.argv[1])):
        data = sock.recv(65536)
        expected = number.to_bytes(4, "big") * 400
        if data != expected[: number * 37 % 1389 + 4]:
            sys.exit(f"number {{number}} is {{data[:8]!r}}, {{len(data)}} bytes")
print("all")
"""

_SENDER = f"""
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for number in range(int(sys.argv[2])):
        data = number.to_bytes(4, "big") * 400
        sock.sendto(data[: number * 37 % 1389 + 4], (sys.argv[1], {_PORT}))
        if number % 50 == 49:
            time.sleep(0.01)
"""


def test_what_is_left_out_is_said_once(spaces: tuple[Namespace, Namespace]) -> None:
    tunnel = ours(spaces[0], "gro")
    tunnel.up()
    assert ping(tunnel, tunnel.inner4, 1) == 1
    tunnel.process.terminate()
    output, _ = tunnel.process.communicate(timeout=10)
    (line,) = output.splitlines()
    assert line.startswith(f"fleet-agent tunnel {tunnel.interface}: without gro: ")


_TAKES_NO_MERGED_PACKETS = """
import errno, os, sys
from agent.tunnel.main import run

def choosy(fd, buffers):
    if len(buffers) > 2:
        raise OSError(errno.EINVAL, "nothing merged here")
    return writev(fd, buffers)

writev, os.writev = os.writev, choosy
sys.exit(run(sys.argv[1]))
"""


def test_a_kernel_that_refuses_merged_packets_gets_them_one_by_one(
    spaces: tuple[Namespace, Namespace],
) -> None:
    """As some do, see docs/data-path.md."""
    choosy = Program("refusing", (sys.executable, "-c", _TAKES_NO_MERGED_PACKETS))
    here, there = ours(spaces[0], ""), start(spaces[1], choosy)
    introduce(here, there)
    wait_for_pings(here, there.inner4)
    serve(there.space)
    exchange(here.space, there.inner4)
    there.process.terminate()
    output, _ = there.process.communicate(timeout=10)
    (line,) = output.splitlines()
    assert line.startswith(f"fleet-agent tunnel {there.interface}: TCP segments are written one by one")
