"""What the kernel says of a WireGuard device, read straight from the bytes.

Job: messages -> DeviceState, with no more in memory than that. Pure. Called by kernel. Source: Linux,
include/uapi/linux/wireguard.h; sockaddr_in and sockaddr_in6 as in include/uapi/linux/in.h and in6.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import Any, Optional

from agent.bundle import join_endpoint
from agent.host.device import DeviceState, PeerState
from agent.host.genetlink import DUMP, Buffer, attributes, messages, odd, request, text

_GET_DEVICE, _VERSION = 0, 1
_NAME, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _FWMARK, _PEERS = 2, 3, 4, 6, 7, 8  # WGDEVICE_A_*
_PEER_KEY, _PRESHARED_KEY, _ENDPOINT, _KEEPALIVE, _HANDSHAKE, _RX, _TX, _ALLOWED_IPS = (  # WGPEER_A_*
    *(1, 2, 4, 5),
    *(6, 7, 8, 9),
)
_IP_FAMILY, _IP, _LENGTH = 1, 2, 3  # WGALLOWEDIP_A_*

_U8, _U16, _U32, _U64 = (struct.Struct(f"={code}") for code in "BHIQ")
_TIME = struct.Struct("=qq")  # struct __kernel_timespec
_PORT = struct.Struct(">2xH")
_SCOPE = struct.Struct("=I")
_NO_KEY = bytes(32)
_ADDRESS_BYTES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}


def dump_request(family: int, interface: str) -> bytes:
    """Asks for a device."""
    return request(family, DUMP, _GET_DEVICE, _VERSION, text(_NAME, interface))


class Dump:
    """A device as it comes, piece by piece."""

    def __init__(self, family: int) -> None:
        self.complete = False
        self.interrupted = False
        """Somebody changed the device meanwhile, so what came may not fit together."""
        self._family = family
        self._device: dict[str, Any] = {}
        self._peers: list[PeerState] = []

    def feed(self, data: Buffer) -> None:
        """The next piece. Raises OSError with the kernel's errno, EPROTO for what is no answer."""
        try:
            for message in messages(data, self._family):
                self.interrupted |= message.interrupted
                self.complete |= message.last
                self._read(message.body)
        except (struct.error, ValueError) as error:
            raise odd() from error

    def state(self) -> DeviceState:
        """What came so far."""
        return DeviceState(**self._device, peers=tuple(self._peers))

    def _read(self, body: Buffer) -> None:
        for kind, value in attributes(body):
            if kind == _PEERS:
                for _, nested in attributes(value):
                    self._add(_peer(nested))
            elif kind == _PRIVATE_KEY:
                self._device["private_key"] = _key(value)
            elif kind == _PUBLIC_KEY:
                self._device["public_key"] = _key(value)
            elif kind == _LISTEN_PORT:
                (self._device["listen_port"],) = _U16.unpack(value)
            elif kind == _FWMARK:
                (self._device["fwmark"],) = _U32.unpack(value)

    def _add(self, peer: PeerState) -> None:
        """One that did not fit into a message goes on in the next, with its key and more AllowedIPs."""
        if self._peers and self._peers[-1].public_key == peer.public_key:
            before = self._peers[-1]
            self._peers[-1] = replace(before, allowed_ips=before.allowed_ips + peer.allowed_ips)
        else:
            self._peers.append(peer)


def _peer(data: Buffer) -> PeerState:
    found: dict[str, Any] = {}
    for kind, value in attributes(data):
        if kind == _PEER_KEY:
            found["public_key"] = _key(value) or _NO_KEY
        elif kind == _PRESHARED_KEY:
            found["preshared_key"] = _key(value)
        elif kind == _ENDPOINT:
            found["endpoint"] = _endpoint(value)
        elif kind == _KEEPALIVE:
            (found["persistent_keepalive"],) = _U16.unpack(value)
        elif kind == _HANDSHAKE:
            seconds, nanoseconds = _TIME.unpack(value)
            found["latest_handshake_ns"] = seconds * 10**9 + nanoseconds
        elif kind == _RX:
            (found["rx_bytes"],) = _U64.unpack(value)
        elif kind == _TX:
            (found["tx_bytes"],) = _U64.unpack(value)
        elif kind == _ALLOWED_IPS:
            found["allowed_ips"] = tuple(_prefix(nested) for _, nested in attributes(value))
    if "public_key" not in found:
        raise ValueError("a peer without a key")
    return PeerState(**found)


def _prefix(data: Buffer) -> str:
    found = dict(attributes(data))
    try:
        (family,), (length,) = _U16.unpack(found[_IP_FAMILY]), _U8.unpack(found[_LENGTH])
        return f"{_ip(family, found[_IP])}/{length}"
    except KeyError as error:
        raise ValueError("half a prefix") from error


def _endpoint(data: Buffer) -> str:
    (family,), (port,) = _U16.unpack_from(data), _PORT.unpack_from(data)
    if family == socket.AF_INET:
        return join_endpoint(_ip(family, data[4:8]), port)
    ip = _ip(family, data[8:24])
    (scope,) = _SCOPE.unpack_from(data, 24)
    return join_endpoint(f"{ip}%{scope}" if scope else ip, port)


def _ip(family: int, data: Buffer) -> str:
    if _ADDRESS_BYTES.get(family) != len(data):
        raise ValueError("an address")
    return socket.inet_ntop(family, data)


def _key(data: Buffer) -> Optional[bytes]:
    """32 zero bytes are none."""
    key = bytes(data)
    if len(key) != len(_NO_KEY):
        raise ValueError("a key's length")
    return None if key == _NO_KEY else key
