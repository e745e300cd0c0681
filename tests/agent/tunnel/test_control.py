"""The control socket with clients that behave, stall, vanish or talk nonsense; a fake does the requests."""

from __future__ import annotations

import select
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.tunnel.control import ControlSocket
from agent.tunnel.errors import StartError
from agent.tunnel.uapi import Reply


class Echo:
    """Answers with the request, after as many slices as it has lines."""

    def __init__(self) -> None:
        self.slices = 0

    def serve(self, request: str) -> Reply:
        for _ in request.split("\n"):
            self.slices += 1
            yield
        return f"<{request}>\n\n"


class Clients:
    """Sockets connected to the control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sockets: list[socket.socket] = []

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(self._path))
        client.setblocking(False)
        self._sockets.append(client)
        return client

    def close(self) -> None:
        for client in self._sockets:
            client.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def control(tmp_path: Path, echo: Echo) -> Iterator[ControlSocket]:
    server = ControlSocket("wg0", echo.serve, tmp_path)
    yield server
    server.close()


@pytest.fixture
def clients(control: ControlSocket) -> Iterator[Clients]:
    group = Clients(control.path)
    yield group
    group.close()


def work(control: ControlSocket) -> None:
    """Does all that can be done now."""
    busy = True
    while busy or select.select([control], [], [], 0)[0]:
        control.handle()
        busy = control.step()


def answer(control: ControlSocket, client: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """What the client reads until that is `enough`; the connection's end is an AssertionError."""
    got = b""
    end = time.monotonic() + 10
    while not enough(got):
        assert time.monotonic() < end, got[-100:]
        work(control)
        if select.select([client], [], [], 0)[0]:
            piece = client.recv(1 << 20)
            assert piece, "the connection ended"
            got += piece
    return got


def is_closed(control: ControlSocket, client: socket.socket) -> bool:
    work(control)
    return bool(select.select([client], [], [], 0)[0]) and not client.recv(100)


def ends(text: bytes) -> Callable[[bytes], bool]:
    return lambda got: got.endswith(text)


def test_many_requests_on_one_connection_in_any_pieces(control: ControlSocket, clients: Clients) -> None:
    client = clients.connect()
    for piece in (b"se", b"t=1", b"\na=b\n", b"\nget=1\n", b"\nget=1\n\n"):
        client.send(piece)
        work(control)
    got = answer(control, client, lambda got: got.count(b">") == 3)
    assert got == b"<set=1\na=b>\n\n<get=1>\n\n<get=1>\n\n"


def test_a_client_that_closes_at_once_is_harmless(control: ControlSocket, clients: Clients) -> None:
    clients.connect().close()
    work(control)
    client = clients.connect()
    client.send(b"get=1\n\n")
    assert answer(control, client, ends(b"\n\n")) == b"<get=1>\n\n"


def test_a_client_that_stops_writing_still_reads_its_answer(control: ControlSocket, clients: Clients) -> None:
    client = clients.connect()
    client.send(b"get=1\n\n")
    client.shutdown(socket.SHUT_WR)
    assert answer(control, client, ends(b"\n\n")) == b"<get=1>\n\n"
    assert is_closed(control, client)


def test_a_stalled_client_does_not_hold_up_another(control: ControlSocket, clients: Clients) -> None:
    stalled = clients.connect()
    stalled.send(b"set=1\nprivate_key=")
    work(control)
    other = clients.connect()
    other.send(b"get=1\n\n")
    assert answer(control, other, ends(b"\n\n")) == b"<get=1>\n\n"


@pytest.mark.parametrize("start", [b"get=2\n\n", b"\n", b"GET / HTTP/1.1\r\n", b"x" * 16])
def test_an_unknown_operation_closes_the_connection(
    control: ControlSocket, clients: Clients, start: bytes
) -> None:
    client = clients.connect()
    client.send(start)
    assert is_closed(control, client)


def test_an_unknown_operation_behind_a_good_one_closes_after_the_answer(
    control: ControlSocket, clients: Clients, echo: Echo
) -> None:
    client = clients.connect()
    client.send(b"get=1\n\nnonsense=1\n\n")
    assert answer(control, client, ends(b"\n\n")) == b"<get=1>\n\n"
    assert is_closed(control, client)
    assert echo.slices == 1


def test_one_step_carries_out_one_slice(control: ControlSocket, clients: Clients, echo: Echo) -> None:
    client = clients.connect()
    client.send(b"set=1\n" + b"a=b\n" * 9 + b"\n")
    control.handle()
    control.handle()
    for done in range(1, 6):
        assert control.step()
        assert echo.slices == done


def test_a_long_answer_waits_for_a_slow_reader(control: ControlSocket, clients: Clients) -> None:
    slow, other = clients.connect(), clients.connect()
    request = b"set=1\n" + b"x" * 3_000_000
    sent = 0
    while sent < len(request):
        sent += slow.send(request[sent:])
        work(control)
    slow.send(b"\n\n")
    other.send(b"get=1\n\n")
    assert answer(control, other, ends(b"\n\n")) == b"<get=1>\n\n"
    assert answer(control, slow, ends(b">\n\n")) == b"<" + request + b">\n\n"


def test_a_request_of_a_client_that_is_gone_is_carried_out(
    control: ControlSocket, clients: Clients, echo: Echo
) -> None:
    client = clients.connect()
    client.send(b"set=1\na=b\n\n")
    client.close()
    work(control)
    assert echo.slices == 2


def test_more_clients_than_there_is_room_for_displace_the_silent(
    monkeypatch: pytest.MonkeyPatch, control: ControlSocket, clients: Clients
) -> None:
    monkeypatch.setattr("agent.tunnel.control.MOST_CONNECTIONS", 2)
    silent, second = clients.connect(), clients.connect()
    work(control)
    third = clients.connect()
    assert is_closed(control, silent)
    for client in (second, third):
        client.send(b"get=1\n\n")
        assert answer(control, client, ends(b"\n\n")) == b"<get=1>\n\n"


def test_only_the_owner_may_connect(control: ControlSocket) -> None:
    assert stat.filemode(control.path.lstat().st_mode) == "srwx------"


def test_a_live_socket_is_refused_and_stays(control: ControlSocket, clients: Clients, echo: Echo) -> None:
    with pytest.raises(StartError, match="unix socket in use"):
        ControlSocket("wg0", echo.serve, control.path.parent)
    client = clients.connect()
    client.send(b"get=1\n\n")
    assert answer(control, client, ends(b"\n\n")) == b"<get=1>\n\n"
    assert [path.name for path in control.path.parent.iterdir()] == ["wg0.sock"]


def test_a_stale_socket_is_replaced(tmp_path: Path, echo: Echo) -> None:
    path = tmp_path / "wg0.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    control = ControlSocket("wg0", echo.serve, tmp_path)
    assert control.is_present()
    control.close()
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path, echo: Echo) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot make the control socket .*wg0\.sock: Not a directory"):
        ControlSocket("wg0", echo.serve, tmp_path / "file" / "folder")


def test_a_deleted_or_replaced_socket_is_noticed_and_not_ours_to_remove(
    control: ControlSocket, tmp_path: Path
) -> None:
    assert control.is_present()
    control.path.unlink()
    assert not control.is_present()
    (tmp_path / "other").touch()
    (tmp_path / "other").rename(control.path)
    assert not control.is_present()
    control.close()
    assert control.path.exists()
