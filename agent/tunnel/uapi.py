"""What requests on the control socket say: the cross-platform userspace API of WireGuard.

Job: carry `get=1` and `set=1` out on the device and its UDP sockets, a slice at a time, and word the answer.
Refuses to know how requests arrive (agent.tunnel.control does). Called by control, through main.
Source: https://www.wireguard.com/xplatform/, and for what it leaves open wireguard-go's device/uapi.go.
"""

from __future__ import annotations

import errno
import io
import re
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Optional

from agent.tunnel.udp import UdpSockets
from agent.wireguard.allowedips import Network
from agent.wireguard.clock import Time
from agent.wireguard.device import Device, Peer
from agent.wireguard.endpoint import Endpoint

OPERATIONS = frozenset({"get=1", "set=1"})
"""The first lines that a request may have."""

Reply = Generator[None, None, str]
"""A request being carried out: each `next` does a slice of it; what it returns is the answer."""

_SLICE = 64
"""Lines a slice, and perhaps one more: about 20 new peers, which cost an X25519 operation each."""

_KEY = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_NO_KEY = bytes(32)


class _RequestError(Exception):
    """Why a line of a request is refused; the lines before it stay carried out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Uapi:
    """The operations on one device. `clock` tells the time when it is asked."""

    def __init__(self, device: Device, sockets: UdpSockets, clock: Callable[[], Time]) -> None:
        self._device = device
        self._sockets = sockets
        self._clock = clock

    def serve(self, request: str) -> Reply:
        """Carries out a whole request, given without the empty line at its end.

        Its first line is one of OPERATIONS.
        """
        lines = io.StringIO(request)
        if next(lines).rstrip("\n") == "get=1":
            return self._get()
        return self._set(line.rstrip("\n") for line in lines)

    def _get(self) -> Reply:
        answer = []
        for number, line in enumerate(self._describe(), 1):
            answer.append(line)
            if number % _SLICE == 0:
                yield
        return "\n".join([*answer, "errno=0", "", ""])

    def _describe(self) -> Iterator[str]:
        device, sockets = self._device, self._sockets
        if device.private_key is not None:
            yield f"private_key={device.private_key.hex()}"
        if sockets.port:
            yield f"listen_port={sockets.port}"
        if sockets.fwmark:
            yield f"fwmark={sockets.fwmark}"
        for peer in list(device.peers.values()):
            yield from _describe_peer(peer)
            for network in device.allowed_ips.of(peer):
                yield f"allowed_ip={network}"

    def _set(self, lines: Iterator[str]) -> Reply:
        section: _DeviceSection | _PeerSection = _DeviceSection(self._device, self._sockets, self._clock)
        done, before = 0, ""
        try:
            for line in lines:
                key, equals, value = line.partition("=")
                if not equals:
                    raise _RequestError(errno.EPROTO)
                # Not between a peer and its first line, which may say that there is to be no such peer.
                if done >= _SLICE and (key == "public_key" or before != "public_key"):
                    yield
                    done = 0
                if key == "public_key":
                    section = _PeerSection(self._device, self._clock, _key(value))
                else:
                    section.set(key, value)
                done, before = done + 1, key
        except _RequestError as error:
            return f"errno={-error.number}\n\n"
        return "errno=0\n\n"


class _DeviceSection:
    """The lines before the first peer."""

    def __init__(self, device: Device, sockets: UdpSockets, clock: Callable[[], Time]) -> None:
        self._device = device
        self._sockets = sockets
        self._clock = clock

    def set(self, key: str, value: str) -> None:
        if key == "private_key":
            private_key = _key(value)
            self._device.set_private_key(None if private_key == _NO_KEY else private_key, self._clock())
        elif key == "listen_port":
            self._change(self._sockets.set_port, _number(value, 0xFFFF))
        elif key == "fwmark":
            self._change(self._sockets.set_fwmark, _number(value, 0xFFFFFFFF))
        elif key == "replace_peers":
            _true(value)
            self._device.remove_peers(self._clock())
        else:
            raise _RequestError(errno.EINVAL)

    def _change(self, change: Callable[[int], bool], number: int) -> None:
        try:
            changed = change(number)
        except OSError as error:
            raise _RequestError(error.errno or errno.EIO) from error
        if changed:
            self._device.clear_sources()


class _PeerSection:
    """The lines of one peer, which its public key made or selected.

    `_peer` is None where they are checked but count for nothing: a peer with our own key, one that was
    removed, or one that does not exist and was only to be updated.
    """

    def __init__(self, device: Device, clock: Callable[[], Time], public_key: bytes) -> None:
        self._device = device
        self._clock = clock
        self._public_key = public_key
        self._is_new = public_key not in device.peers
        self._peer: Optional[Peer] = None
        if public_key != device.public_key:
            self._peer = device.add_peer(public_key, clock())

    def set(self, key: str, value: str) -> None:
        try:
            setter = self._SETTERS[key]
        except KeyError:
            raise _RequestError(errno.EINVAL) from None
        setter(self, value)

    def _remove(self, value: str) -> None:
        _true(value)
        self._leave()

    def _update_only(self, value: str) -> None:
        _true(value)
        if self._is_new:
            self._leave()

    def _leave(self) -> None:
        if self._peer is not None:
            self._device.remove_peer(self._public_key, self._clock())
            self._peer = None

    def _preshared_key(self, value: str) -> None:
        key = _key(value)
        if self._peer is not None:
            self._peer.preshared_key = key

    def _endpoint(self, value: str) -> None:
        endpoint = parse_endpoint(value)
        if self._peer is not None:
            self._device.set_endpoint(self._peer, endpoint, self._clock())

    def _keepalive(self, value: str) -> None:
        seconds = _number(value, 0xFFFF)
        if self._peer is not None:
            self._device.set_keepalive(self._peer, seconds, self._clock())

    def _replace_allowed_ips(self, value: str) -> None:
        _true(value)
        if self._peer is not None:
            self._device.allowed_ips.clear(self._peer)

    def _allowed_ip(self, value: str) -> None:
        network = _network(value[1:] if value.startswith("-") else value)
        if self._peer is None:
            return
        if value.startswith("-"):
            self._device.allowed_ips.remove(network, self._peer)
        else:
            self._device.allowed_ips.insert(network, self._peer)

    def _protocol_version(self, value: str) -> None:
        if value != "1":
            raise _RequestError(errno.EINVAL)

    _SETTERS: dict[str, Callable[[_PeerSection, str], None]] = {  # noqa: RUF012
        "remove": _remove,
        "update_only": _update_only,
        "preshared_key": _preshared_key,
        "endpoint": _endpoint,
        "persistent_keepalive_interval": _keepalive,
        "replace_allowed_ips": _replace_allowed_ips,
        "allowed_ip": _allowed_ip,
        "protocol_version": _protocol_version,
    }


def parse_endpoint(text: str) -> Endpoint:
    """`192.0.2.1:5`, `[2001:db8::1]:5` or `[fe80::1%eth0]:5`; raises _RequestError, for host names too."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        scope = _scope(address)
    except (ValueError, OSError):
        raise _RequestError(errno.EINVAL) from None
    if not colon or bracketed != isinstance(address, IPv6Address):
        raise _RequestError(errno.EINVAL)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Endpoint(address.packed, _number(port, 0xFFFF), scope)


def print_endpoint(endpoint: Endpoint) -> str:
    """As `parse_endpoint` reads it; an interface that is gone shows as its number."""
    if len(endpoint.ip) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, endpoint.ip)}:{endpoint.port}"
    host = socket.inet_ntop(socket.AF_INET6, endpoint.ip)
    if endpoint.scope:
        scope = str(endpoint.scope)
        with suppress(OSError):
            scope = socket.if_indextoname(endpoint.scope)
        host += f"%{scope}"
    return f"[{host}]:{endpoint.port}"


def _describe_peer(peer: Peer) -> Iterator[str]:
    yield f"public_key={peer.public_key.hex()}"
    yield f"preshared_key={peer.preshared_key.hex()}"
    yield "protocol_version=1"
    if peer.endpoint is not None:
        yield f"endpoint={print_endpoint(peer.endpoint)}"
    seconds, nanoseconds = divmod(peer.latest_handshake or 0, 10**9)
    yield f"last_handshake_time_sec={seconds}"
    yield f"last_handshake_time_nsec={nanoseconds}"
    yield f"tx_bytes={peer.tx_bytes}"
    yield f"rx_bytes={peer.rx_bytes}"
    yield f"persistent_keepalive_interval={peer.persistent_keepalive}"


def _key(text: str) -> bytes:
    if not _KEY.fullmatch(text):
        raise _RequestError(errno.EINVAL)
    return bytes.fromhex(text)


def _number(text: str, most: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise _RequestError(errno.EINVAL)
    return int(text)


def _true(text: str) -> None:
    if text != "true":
        raise _RequestError(errno.EINVAL)


def _network(text: str) -> Network:
    _, _, length = text.partition("/")
    _number(length, 128)  # `ip_network` would take a netmask, or none, too
    if "%" in text:
        raise _RequestError(errno.EINVAL)
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise _RequestError(errno.EINVAL) from None


def _scope(address: object) -> int:
    """The index of the interface after `%`, which may stand there as a number.

    Raises OSError, _RequestError.
    """
    name = getattr(address, "scope_id", None)
    if name is None:
        return 0
    return _number(name, 0xFFFFFFFF) if _NUMBER.fullmatch(name) else socket.if_nametoindex(name)
