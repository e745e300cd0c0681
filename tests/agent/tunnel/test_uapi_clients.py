"""The userspace API over its socket: long requests, many clients, and such as never read."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.tunnel import control as module
from agent.tunnel.control import ControlSocket
from agent.tunnel.uapi import Uapi
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device
from tests.agent.tunnel.test_uapi import KEY, key

NOW = Time(1000.0, 1_700_000_000 * 10**9)
_PIECE = 1 << 20


class Served:
    """A device behind its control socket, and clients of it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.device = Device(os.urandom)
        self.sockets = UdpSockets()
        stack.callback(self.sockets.close)
        self.control = ControlSocket("wg0", Uapi(self.device, self.sockets, lambda: NOW).serve, folder)
        stack.callback(self.control.close)
        self._stack = stack

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stack.callback(client.close)
        client.connect(str(self.control.path))
        client.setblocking(False)
        self.turn()
        return client

    def turn(self) -> None:
        """One turn of the loop."""
        self.control.handle()
        self.control.step()

    def work(self) -> None:
        """Turns until there is nothing to do now."""
        busy = True
        while busy or select.select([self.control], [], [], 0)[0]:
            self.control.handle()
            busy = self.control.step()

    def send(self, client: socket.socket, request: bytes) -> None:
        while request:
            try:
                request = request[client.send(request[:_PIECE]) :]
            except BlockingIOError:
                self.turn()

    def answer(self, client: socket.socket) -> bytes:
        """What the client reads up to an empty line, while turns go on."""
        got = b""
        while not got.endswith(b"\n\n"):
            self.turn()
            try:
                piece = client.recv(_PIECE)
            except BlockingIOError:
                continue
            assert piece, "the connection ended"
            got += piece
        return got

    def ask(self, client: socket.socket, *lines: str) -> bytes:
        self.send(client, "\n".join([*lines, "", ""]).encode())
        return self.answer(client)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


def many_peers(count: int) -> list[str]:
    lines = []
    for number in range(count):
        lines += [f"public_key={key(number)}", f"preshared_key={key(number + 1)}"]
        lines += [f"endpoint=[2001:db8::{number:x}]:51820", "persistent_keepalive_interval=25"]
        lines += ["replace_allowed_ips=true", f"allowed_ip=10.{number >> 8}.{number & 255}.0/24"]
        lines += [f"allowed_ip=fd00:{number:x}::/32"]
    return lines


def test_a_request_and_an_answer_of_several_megabytes(served: Served) -> None:
    lines = many_peers(12_000)
    request = "\n".join(["set=1", *lines, "", ""])
    assert len(request) > 3_000_000
    client = served.connect()
    served.send(client, request.encode())
    assert served.answer(client) == b"errno=0\n\n"
    shown = served.ask(client, "get=1").decode().splitlines()
    assert shown[-2:] == ["errno=0", ""]
    assert [line for line in shown if line.startswith("public_key")] == lines[::7]
    assert sum(line.startswith("allowed_ip") for line in shown) == 24_000


def test_a_hundred_clients_at_once(served: Served) -> None:
    served.ask(served.connect(), "set=1", f"private_key={KEY.hex()}")
    clients = [served.connect() for _ in range(100)]
    for number, client in enumerate(clients):
        served.send(client, f"set=1\npublic_key={key(number)}\nallowed_".encode())
    for number, client in reversed(list(enumerate(clients))):
        served.send(client, f"ip=10.0.{number}.0/24\n\nget=1\n\n".encode())
    for number, client in enumerate(clients):
        assert served.answer(client).startswith(b"errno=0\n\n")
        assert f"allowed_ip=10.0.{number}.0/24" in served.ask(client, "get=1").decode().splitlines()
    assert len(served.device.peers) == 100


def test_clients_that_never_read_hold_up_nobody_and_fill_no_memory(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    """Each may leave one answer unread; the ones silent for longest go when there is no room."""
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 20)
    served.ask(served.connect(), "set=1", *many_peers(1000))
    deaf = [served.connect() for _ in range(40)]
    for client in deaf[-18:]:
        served.send(client, b"get=1\n\n" * 100)
        served.work()
    other = served.connect()
    for _ in range(3):
        assert served.ask(other, "get=1").count(b"public_key") == 1000
    waiting = [connection.outgoing.nbytes for connection in served.control._connections.values()]
    assert len(waiting) <= 20
    assert sum(size > 0 for size in waiting) == 18
    assert max(waiting) < 1_000_000


def test_a_set_of_a_client_that_vanishes_ends_with_its_last_line(served: Served) -> None:
    client = served.connect()
    served.send(client, f"set=1\npublic_key={key(1)}\n\nset=1\npublic_key={key(2)}\n".encode())
    client.close()
    served.work()
    assert [public_key.hex() for public_key in served.device.peers] == [key(1)]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_somebody_else_has_leaves_the_old_one_at_work(
    served: Served, family: socket.AddressFamily
) -> None:
    served.sockets.open()
    before = served.sockets.port
    client = served.connect()
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        assert served.ask(client, "set=1", f"listen_port={port}", "fwmark=7") == b"errno=-98\n\n"
    assert served.ask(client, "get=1") == f"listen_port={before}\nerrno=0\n\n".encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as friend:
        friend.sendto(b"still here", ("127.0.0.1", before))
        assert select.select(served.sockets.filenos, [], [], 5)[0]
        assert [data for data, _, _ in served.sockets.receive(dict.fromkeys(served.sockets.filenos, 9))] == [
            b"still here"
        ]
