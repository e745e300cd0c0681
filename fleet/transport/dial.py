"""Something to speak SSH through: a TCP socket, a channel of the jump host before, or a command's pipe.

Called by `ssh`. Refuses to know SSH.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import paramiko

from fleet.transport.deadline import Deadline
from fleet.transport.settings import Settings


class RefusalError(Exception):
    """A finished sentence for the operator, from a place that does not know the host's name."""


def dial(
    settings: Settings,
    previous: paramiko.Transport | None,
    closers: list[Callable[[], None]],
    deadline: Deadline,
) -> Any:
    """A socket to the SSH server, through `previous` where there is one; `closers` learn how it ends.

    Raises RefusalError, OSError and paramiko's SSHException.
    """
    address = (settings.hostname, settings.port)
    if previous is not None:
        try:
            return previous.open_channel("direct-tcpip", address, ("", 0), timeout=deadline.left)
        except paramiko.ChannelException as error:
            raise RefusalError(
                f"the jump host cannot reach {address[0]} port {address[1]}: {error.text}"
            ) from None
    if settings.proxy_command is not None:
        return _command(settings.proxy_command, closers)
    sock = _tcp(address, deadline)
    closers.append(lambda: _shut(sock))
    return sock


def _command(command: str, closers: list[Callable[[], None]]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
        )
    closers.append(lambda: _end(process))
    closers.append(lambda: _shut(ours))
    return ours


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _shut(sock: socket.socket) -> None:
    """Ends reads that are under way at once, which closing alone does not."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _tcp(address: tuple[str, int], deadline: Deadline) -> socket.socket:
    """A connection to the first address of the name that accepts one, each given its share of the time."""
    last: OSError = TimeoutError()
    found = _look_up(address, deadline)
    for index, (family, kind, protocol, _, where) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(deadline.left / (len(found) - index))
        try:
            sock.connect(where)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            last = error
            continue
        return sock
    raise last


def _look_up(address: tuple[str, int], deadline: Deadline) -> list[Any]:
    """getaddrinfo, which has no limit of its own, on a thread that may be left behind."""
    try:
        address[0].encode("idna")
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(deadline.left)
    if not answer:
        raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")
    if isinstance(answer[0], OSError):
        raise answer[0]
    found: list[Any] = answer[0]
    return found
