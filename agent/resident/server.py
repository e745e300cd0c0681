"""The socket that clients of the agent speak to: one JSON object in, one out, then it is over.

Job: many clients at once, none of them able to hold up another or to fill the memory; root alone gets
in. Refuses to know what requests say. Called by service.

A client sends its object and shuts its writing side; it is answered once, whenever the answer is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
from pathlib import Path
from typing import Any, Optional

from agent.codec import loads
from agent.resident.files import private_folder

MOST_BYTES = 32 << 20
"""The longest request: a host with 30 000 peers and as many keys stays below it."""
MOST_CLIENTS = 32
SECONDS = 30.0
"""How long a client may neither send nor read."""

_PIECE = 1 << 16


class Client:
    """One connection; `request` is the whole object once it is here."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.socket = sock
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.waits = False
        self.deadline = now + SECONDS


class Server:
    """Listens at `file`, 0600 in a 0700 folder from its creation. Raises OSError.

    It polls its clients itself: one file descriptor stands for all of them.
    """

    def __init__(self, file: Path) -> None:
        private_folder(file.parent)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()  # of an agent that was killed: the caller holds the lock, so it is dead
        self._file = file
        self._clients: set[Client] = set()
        self._listener = _listen(file)
        self._selector = selectors.EpollSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def fileno(self) -> int:
        """Readable when `requests` has something to do."""
        return self._selector.fileno()

    @property
    def deadline(self) -> Optional[float]:
        """When the next client has been silent for too long."""
        return min((client.deadline for client in self._clients if not client.waits), default=None)

    def requests(self, now: float) -> list[tuple[Client, dict[str, Any]]]:
        """What has arrived in full; those who sent nonsense are answered already. Never waits."""
        arrived = []
        for key, _ in self._selector.select(0):
            if key.fileobj is self._listener:
                self._accept(now)
                continue
            client: Client = key.data
            if client.outgoing:
                self._flush(client, now)
            elif client in self._clients and self._receive(client, now):
                request = self._parse(client, now)
                if request is not None:
                    arrived.append((client, request))
        for client in [c for c in self._clients if not c.waits and c.deadline <= now]:
            self._drop(client)
        return arrived

    def answer(self, client: Client, answer: dict[str, Any], now: float) -> None:
        """Answers one request; nothing happens where the client is gone."""
        if client not in self._clients:
            return
        client.waits = False
        client.outgoing = memoryview(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        self._selector.register(client.socket, selectors.EVENT_WRITE, client)
        self._flush(client, now)

    def close(self) -> None:
        """Ends every connection and removes the socket."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _accept(self, now: float) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if not _is_root(sock):
            sock.close()
            return
        if len(self._clients) >= MOST_CLIENTS:
            idle = [client for client in self._clients if not client.waits]
            if not idle:
                sock.close()
                return
            self._drop(min(idle, key=lambda client: client.deadline))
        sock.setblocking(False)
        client = Client(sock, now)
        self._clients.add(client)
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _receive(self, client: Client, now: float) -> bool:
        """Whether the request is here in full."""
        try:
            data = client.socket.recv(_PIECE)
        except BlockingIOError:
            return False
        except OSError:
            self._drop(client)
            return False
        if not data:
            return True
        client.incoming += data
        client.deadline = now + SECONDS
        if len(client.incoming) > MOST_BYTES:
            self._refuse(client, f"a request of more than {MOST_BYTES >> 20} MiB", now)
        return False

    def _parse(self, client: Client, now: float) -> Optional[dict[str, Any]]:
        """The request; None where it is none, which the client is told."""
        try:
            request = loads(client.incoming)
        except ValueError:
            self._refuse(client, "a request that is not JSON", now)
            return None
        if not isinstance(request, dict):
            self._refuse(client, "a request that is not an object", now)
            return None
        client.incoming = bytearray()
        client.waits = True
        self._selector.unregister(client.socket)
        return request

    def _refuse(self, client: Client, why: str, now: float) -> None:
        client.incoming = bytearray()
        self._selector.unregister(client.socket)
        self.answer(client, {"ok": False, "error": why}, now)

    def _flush(self, client: Client, now: float) -> None:
        try:
            while client.outgoing:
                client.outgoing = client.outgoing[client.socket.send(client.outgoing) :]
                client.deadline = now + SECONDS
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(client)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.socket)
        client.socket.close()


def _listen(file: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(str(file))
        listener.listen(MOST_CLIENTS)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _is_root(sock: socket.socket) -> bool:
    """Whether the peer runs as root, or as whoever runs the agent (unix(7), SO_PEERCRED)."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", data)
    return user in (0, os.geteuid())
