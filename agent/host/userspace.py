"""WireGuard devices in user space, ours or wireguard-go's, over their control sockets.

Job: word changes in the userspace API and read devices from its answers. Refuses to know how a tunnel
process is started, and about links, addresses and routes. Called by host and tunnel.
Source: https://www.wireguard.com/xplatform/.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Optional

from agent.bundle import join_endpoint
from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState, SocketAddress

FOLDER = Path("/var/run/wireguard")
PATIENCE = 5.0
"""Seconds without a byte of an answer; thousands of peers take some."""
SHORT_PATIENCE = 1.0
"""The same for a process that let one wait in vain the last time."""

_SUFFIX = ".sock"
_NO_KEY = bytes(32)
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_LONGEST_ANSWER = 256 << 20

Lines = Iterator[tuple[str, str]]


class UserspaceDevice:
    """Implements agent.host.device.Device."""

    def __init__(self, folder: Path = FOLDER, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._patience = patience
        self._silent: dict[str, float] = {}
        """Since when (monotonic) a process did not answer any request."""

    def names(self) -> tuple[str, ...]:
        """The interfaces whose control sockets somebody listens on, in the order of the folder."""
        try:
            found = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return ()
        names = (name[: -len(_SUFFIX)] for name in found if name.endswith(_SUFFIX))
        return tuple(name for name in names if name and self.is_alive(name))

    def is_alive(self, interface: str) -> bool:
        """Whether a process listens on the interface's control socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(str(self._path(interface)))
            except BlockingIOError:
                return True  # its queue is full, so somebody listens
            except OSError:
                return False
        return True

    def silence(self, interface: str) -> float:
        """Seconds since a process was first asked in vain; 0 where the last request was answered."""
        since = self._silent.get(interface)
        return 0.0 if since is None else time.monotonic() - since

    def is_silent(self, interface: str) -> bool:
        """Whether the process lets one wait in vain once more, in full; raises OSError for other faults."""
        try:
            self._request(interface, "get=1\n\n", self._patience)
        except TimeoutError:
            return True
        return False

    def process(self, interface: str) -> Optional[int]:
        """The process that listens on the control socket (unix(7), SO_PEERCRED); None if that is not told."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(str(self._path(interface)))
            except OSError:
                return None
            found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        number: int = struct.unpack("3i", found)[0]
        return number if number > 1 else None  # 0: of another process id namespace

    def remove_stale(self, interface: str) -> None:
        """Removes the socket of a process that is gone."""
        if not self.is_alive(interface):
            with suppress(OSError):
                self._path(interface).unlink()

    def read(self, interface: str) -> DeviceState:
        """Raises OSError, also for an answer that is none."""
        return state(self._ask(interface, "get=1\n\n"))

    def write(self, interface: str, edit: DeviceEdit) -> None:
        """Raises OSError; lines before the one that failed have had their effect."""
        for _ in self._ask(interface, request(edit)):
            pass

    def _path(self, interface: str) -> Path:
        return self._folder / f"{interface}{_SUFFIX}"

    def _ask(self, interface: str, text: str) -> Lines:
        """The lines of the answer, without the errno at its end."""
        patience = min(SHORT_PATIENCE, self._patience) if interface in self._silent else self._patience
        answer = self._request(interface, text, patience)
        *lines, last = [line.partition("=") for line in answer.split("\n")]
        if last[0] != "errno":
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        number = _number(last[2].lstrip("-"))
        if number:
            raise OSError(number, os.strerror(number))
        return iter([(key, value) for key, _, value in lines])

    def _request(self, interface: str, text: str, patience: float) -> str:
        """The answer. Raises TimeoutError, with its errno, where there is none for so many seconds."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            try:
                sock.connect(str(self._path(interface)))
                sock.sendall(text.encode())
                answer = _receive(sock)
            except socket.timeout as error:
                self._silent.setdefault(interface, time.monotonic())
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
            except OSError:
                self._silent.pop(interface, None)
                raise
        self._silent.pop(interface, None)
        return answer


def request(edit: DeviceEdit) -> str:
    """The change as one request."""
    lines = ["set=1"]
    if edit.private_key is not None:
        lines.append(f"private_key={edit.private_key.hex()}")
    if edit.listen_port is not None:
        lines.append(f"listen_port={edit.listen_port}")
    if edit.fwmark is not None:
        lines.append(f"fwmark={edit.fwmark}")
    if edit.replace_peers:
        lines.append("replace_peers=true")
    for peer in edit.peers:
        lines += _peer_lines(peer)
    return "\n".join([*lines, "", ""])


def state(lines: Iterable[tuple[str, str]]) -> DeviceState:
    """The device that an answer describes; unknown keys are skipped. Raises OSError, EPROTO."""
    device: dict[str, str] = {}
    peers: list[tuple[dict[str, str], list[str]]] = []
    for key, value in lines:
        if key == "public_key":
            peers.append(({key: value}, []))
        elif not peers:
            device[key] = value
        elif key == "allowed_ip":
            peers[-1][1].append(value)
        else:
            peers[-1][0][key] = value
    private_key = _key(device.get("private_key"))
    return DeviceState(
        private_key=private_key,
        public_key=None if private_key is None else _public(private_key),
        listen_port=_number(device.get("listen_port", "0")),
        fwmark=_number(device.get("fwmark", "0")),
        peers=tuple(_peer_state(fields, prefixes) for fields, prefixes in peers),
    )


def _peer_lines(peer: PeerEdit) -> Iterator[str]:
    yield f"public_key={peer.public_key.hex()}"
    if peer.remove:
        yield "remove=true"
        return
    if not peer.new:
        yield "update_only=true"
    if peer.preshared_key is not None:
        yield f"preshared_key={peer.preshared_key.hex()}"
    if peer.endpoint is not None:
        yield f"endpoint={_endpoint(peer.endpoint)}"
    if peer.persistent_keepalive is not None:
        yield f"persistent_keepalive_interval={peer.persistent_keepalive}"
    if peer.replace_allowed_ips:
        yield "replace_allowed_ips=true"
    for prefix in peer.allowed_ips:
        yield f"allowed_ip={prefix}"


def _endpoint(address: SocketAddress) -> str:
    ip = f"{address.ip}%{_link_name(address.scope)}" if address.scope else address.ip
    return join_endpoint(ip, address.port)


def _link_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # perhaps the tunnel knows it: it may live in another namespace
        return str(index)


def _peer_state(fields: dict[str, str], prefixes: list[str]) -> PeerState:
    seconds = _number(fields.get("last_handshake_time_sec", "0"))
    nanoseconds = _number(fields.get("last_handshake_time_nsec", "0"))
    return PeerState(
        public_key=_key(fields["public_key"]) or _NO_KEY,
        preshared_key=_key(fields.get("preshared_key")),
        endpoint=fields.get("endpoint"),
        allowed_ips=tuple(prefixes),
        persistent_keepalive=_number(fields.get("persistent_keepalive_interval", "0")),
        latest_handshake_ns=seconds * 10**9 + nanoseconds,
        rx_bytes=_number(fields.get("rx_bytes", "0")),
        tx_bytes=_number(fields.get("tx_bytes", "0")),
    )


def _receive(sock: socket.socket) -> str:
    """Everything up to the empty line, without it."""
    data = bytearray()
    while not data.endswith(b"\n\n") and len(data) < _LONGEST_ANSWER:
        piece = sock.recv(1 << 20)
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        data += piece
    return data.decode("latin-1").rstrip("\n")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    return int(text)


def _key(text: Optional[str]) -> Optional[bytes]:
    if text is None:
        return None
    if not _KEY.fullmatch(text):
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    key = bytes.fromhex(text)
    return None if key == _NO_KEY else key


def _public(private_key: bytes) -> bytes:
    from agent.curve import public_key

    return public_key(private_key)
