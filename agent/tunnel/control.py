"""The control socket /var/run/wireguard/INTERFACE.sock, which `wg` speaks to.

Job: many clients at once, each with any number of requests, none of them able to hold up another or the
data: requests arrive in pieces, wait for each other, and are carried out a slice at a time. Refuses to
know what requests say (agent.tunnel.uapi does). Called by loop and main.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from agent.tunnel.errors import StartError
from agent.tunnel.uapi import OPERATIONS, Reply

FOLDER = Path("/var/run/wireguard")
MOST_CONNECTIONS = 256
MOST_BYTES = 64 << 20
"""The longest request: 2^16 peers with ten prefixes each are 32 MB."""

_PIECE = 256 << 10
# include/uapi/linux/inotify.h
_IN_ATTRIB, _IN_DELETE_SELF, _IN_MOVE_SELF = 0x4, 0x400, 0x800
_IN_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class _Connection:
    """A client: what it sent and we have not carried out, what we answered and it has not read."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.searched = 0
        self.ended = False
        self.waits = False

    def interest(self) -> int:
        return (0 if self.ended else select.EPOLLIN) | (select.EPOLLOUT if self.outgoing else 0)

    def receive(self) -> bool:
        """Takes what has arrived; False where that breaks the protocol beyond an answer."""
        try:
            data = self.socket.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.ended = not data
        self.incoming += data
        return len(self.incoming) <= MOST_BYTES

    def may_become_a_request(self) -> bool:
        end = self.incoming.find(b"\n", 0, 16)
        if end < 0:
            return len(self.incoming) < 16
        return self.incoming[:end].decode("latin-1") in OPERATIONS

    def has_request(self) -> bool:
        """Whether a whole request, up to its empty line, is here."""
        end = self.incoming.find(b"\n\n", self.searched)
        if end < 0:
            self.searched = max(0, len(self.incoming) - 1)
            return False
        self.searched = end
        return True

    def take_request(self) -> str:
        """The oldest request without its empty line."""
        text = self.incoming[: self.searched].decode("latin-1")
        del self.incoming[: self.searched + 2]
        self.searched = 0
        return text

    def flush(self) -> bool:
        """Sends what the client has room for; False where it is gone."""
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.socket.send(self.outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class ControlSocket:
    """The server. It polls its clients itself: one file descriptor stands for all of them."""

    def __init__(self, interface: str, serve: Callable[[str], Reply], folder: Path = FOLDER) -> None:
        """Listens at once. Raises StartError where a live process has the socket, or it cannot be made."""
        self.path = folder / f"{interface}.sock"
        self._serve = serve
        self._connections: dict[int, _Connection] = {}
        self._waiting: deque[_Connection] = deque()
        self._running: Optional[tuple[_Connection, Reply]] = None
        self._listener = _listen(self.path)
        self._inode = self.path.lstat().st_ino
        self._file = _watch(self.path)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        if self._file is not None:
            self._epoll.register(self._file, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when `handle` has something to do."""
        return self._epoll.fileno()

    @property
    def is_watched(self) -> bool:
        """Whether `fileno` also tells that the socket's file may be gone; if not, look now and then."""
        return self._file is not None

    def handle(self) -> None:
        """Accepts, reads and writes what can be done without waiting."""
        for fd, _ in self._epoll.poll(0):
            if fd == self._listener.fileno():
                self._accept()
            elif fd == self._file:
                os.read(fd, 65536)
            elif fd in self._connections:
                self._progress(self._connections[fd])

    def step(self) -> bool:
        """Carries one slice of one request out; whether there is more to do now."""
        if self._running is None:
            if not self._waiting:
                return False
            connection = self._waiting.popleft()
            self._running = connection, self._serve(connection.take_request())
        connection, reply = self._running
        try:
            next(reply)
        except StopIteration as done:
            self._running = None
            connection.waits = False
            connection.outgoing = memoryview(done.value.encode())
            self._advance(connection)
        return self._running is not None or bool(self._waiting)

    def is_present(self) -> bool:
        """Whether the socket's file is still there: who deletes it asks the tunnel to end."""
        try:
            return self.path.lstat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Removes the socket and parts from all clients."""
        if self.is_present():
            self.path.unlink()
        self._listener.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._epoll.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # too many files are open: whoever was silent longest makes room
            self._drop_oldest()
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            self._drop_oldest()
        sock.setblocking(False)
        self._connections[sock.fileno()] = _Connection(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _drop_oldest(self) -> None:
        for connection in self._connections.values():
            if not connection.waits:
                self._drop(connection)
                return

    def _progress(self, connection: _Connection) -> None:
        fd = connection.socket.fileno()
        self._connections[fd] = self._connections.pop(fd)  # the most recently heard of stands last
        if not connection.ended and not connection.receive():
            self._drop(connection)
        else:
            self._advance(connection)

    def _advance(self, connection: _Connection) -> None:
        """Sends what waits, then queues the next request or parts from a client that is done."""
        fd = connection.socket.fileno()
        if fd < 0:
            return
        if not connection.flush():
            self._drop(connection)
            return
        if not connection.outgoing and not connection.waits:
            if not connection.may_become_a_request():
                self._drop(connection)
                return
            if connection.has_request():
                connection.waits = True
                self._waiting.append(connection)
            elif connection.ended:
                self._drop(connection)
                return
        self._epoll.modify(fd, connection.interest())

    def _drop(self, connection: _Connection) -> None:
        """A request that was taken up is still carried out; its answer goes nowhere."""
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode srwx------, that never shows there before it listens.

    A client that meets a socket without listener takes it for stale: `wg` even deletes it.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _umask(0o022):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _umask(0o077):
            hidden.unlink(missing_ok=True)
            listener.bind(str(hidden))
        try:
            listener.listen(128)
            _remove_stale(path)
            os.link(hidden, path)
        finally:
            hidden.unlink()
    except OSError as error:
        listener.close()
        raise StartError(f"cannot make the control socket {path}: {_reason(error)}") from error
    return listener


def _watch(path: Path) -> Optional[int]:
    """A file descriptor that becomes readable when the file at `path` may have gone; None: not to be had."""
    libc = ctypes.CDLL(None)
    fd: int = libc.inotify_init1(_IN_NONBLOCK_CLOEXEC)
    if fd < 0:
        return None
    mask = _IN_ATTRIB | _IN_DELETE_SELF | _IN_MOVE_SELF
    if libc.inotify_add_watch(fd, os.fsencode(path), mask) < 0:
        os.close(fd)
        return None
    return fd


def _remove_stale(path: Path) -> None:
    """Raises OSError, EADDRINUSE where a live process answers at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise OSError(errno.EADDRINUSE, "unix socket in use")


def _reason(error: OSError) -> str:
    if error.errno in (errno.EADDRINUSE, errno.EEXIST):
        return "unix socket in use; another process runs this tunnel, end that first"
    return os.strerror(error.errno or 0)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
