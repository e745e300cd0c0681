"""The kernel's WireGuard devices, over generic netlink.

Job: word changes as netlink messages and read devices from them. Refuses to know about links, addresses
and routes. Called by host. Source of the messages: Linux, include/uapi/linux/wireguard.h.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Callable, Optional

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
    WG_GENL_VERSION,
    WGDEVICE_F_REPLACE_PEERS,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS,
    WGPEER_F_UPDATE_ONLY,
    WireGuard,
    wgmsg,
)

from agent.bundle import join_endpoint
from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState

MOST_PREFIXES = 1000
"""A message's: 40 bytes each, and its list of peers must fit into the 64 KiB of an attribute."""
_PEER = 5
"""What a peer takes besides its AllowedIPs, counted in prefixes."""

_ATTEMPTS = 5
_NO_KEY = bytes(32)
_MESSAGE: Any = wgmsg


class KernelDevice:
    """Implements agent.host.device.Device; `connect` opens a generic netlink socket."""

    def __init__(self, connect: Callable[[], Any] = WireGuard) -> None:
        self._connect = connect

    def read(self, interface: str) -> DeviceState:
        """Raises OSError."""
        found: tuple[Any, ...] = ()
        for _ in range(_ATTEMPTS):  # until nobody changed the device meanwhile
            message = _message(WG_CMD_GET_DEVICE, interface)
            found = self._request(message, NLM_F_REQUEST | NLM_F_DUMP)
            if not any(piece["header"]["flags"] & NLM_F_DUMP_INTR for piece in found):
                break
        return state(found)

    def write(self, interface: str, edit: DeviceEdit) -> None:
        """Raises OSError; messages before the one that failed have had their effect."""
        for message in messages(interface, edit):
            self._request(message, NLM_F_REQUEST | NLM_F_ACK)

    def _request(self, message: Any, flags: int) -> tuple[Any, ...]:
        try:
            with closing(self._connect()) as sock:
                return tuple(sock.nlm_request(message, msg_type=sock.prid, msg_flags=flags))
        except NetlinkError as error:
            raise OSError(error.code, str(error.args[-1])) from error


def messages(interface: str, edit: DeviceEdit) -> Iterator[Any]:
    """The change as netlink messages, a peer with many AllowedIPs spread over several."""
    message = _message(WG_CMD_SET_DEVICE, interface)
    if edit.private_key is not None:
        message["attrs"].append(["WGDEVICE_A_PRIVATE_KEY", base64.b64encode(edit.private_key)])
    if edit.listen_port is not None:
        message["attrs"].append(["WGDEVICE_A_LISTEN_PORT", edit.listen_port])
    if edit.fwmark is not None:
        message["attrs"].append(["WGDEVICE_A_FWMARK", edit.fwmark])
    if edit.replace_peers:
        message["attrs"].append(["WGDEVICE_A_FLAGS", WGDEVICE_F_REPLACE_PEERS])
    for number, peers in enumerate(_batches(edit.peers)):
        if number:
            yield message
            message = _message(WG_CMD_SET_DEVICE, interface)
        message["attrs"].append(["WGDEVICE_A_PEERS", [{"attrs": _peer(peer)} for peer in peers]])
    yield message


def state(found: Iterable[Any]) -> DeviceState:
    """The device that a dump describes; a peer that does not fit into one message goes on in the next."""
    device = DeviceState()
    peers: list[PeerState] = []
    for number, message in enumerate(found):
        if number == 0:
            device = DeviceState(
                private_key=_key(message.get_attr("WGDEVICE_A_PRIVATE_KEY")),
                public_key=_key(message.get_attr("WGDEVICE_A_PUBLIC_KEY")),
                listen_port=message.get_attr("WGDEVICE_A_LISTEN_PORT") or 0,
                fwmark=message.get_attr("WGDEVICE_A_FWMARK") or 0,
            )
        for attributes in message.get_attr("WGDEVICE_A_PEERS") or ():
            peer = _peer_state(attributes)
            if peers and peers[-1].public_key == peer.public_key:
                peers[-1] = replace(peers[-1], allowed_ips=peers[-1].allowed_ips + peer.allowed_ips)
            else:
                peers.append(peer)
    return replace(device, peers=tuple(peers))


def _message(command: int, interface: str) -> Any:
    message: Any = _MESSAGE()
    message["cmd"] = command
    message["version"] = WG_GENL_VERSION
    message["attrs"].append(["WGDEVICE_A_IFNAME", interface])
    return message


def _batches(peers: Iterable[PeerEdit]) -> Iterator[list[PeerEdit]]:
    """The edits in groups that fit into a message each, order kept."""
    batch: list[PeerEdit] = []
    size = 0
    for piece in (piece for peer in peers for piece in _pieces(peer)):
        cost = _PEER + len(piece.allowed_ips)
        if batch and size + cost > MOST_PREFIXES:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += cost
    if batch:
        yield batch


def _pieces(peer: PeerEdit) -> Iterator[PeerEdit]:
    prefixes, most = peer.allowed_ips, MOST_PREFIXES - _PEER
    yield replace(peer, allowed_ips=prefixes[:most])
    for start in range(most, len(prefixes), most):
        yield PeerEdit(peer.public_key, allowed_ips=prefixes[start : start + most])


def _peer(peer: PeerEdit) -> list[list[Any]]:
    flags = (
        (WGPEER_F_REMOVE_ME if peer.remove else 0)
        | (WGPEER_F_REPLACE_ALLOWEDIPS if peer.replace_allowed_ips else 0)
        | (0 if peer.new else WGPEER_F_UPDATE_ONLY)
    )
    attributes: list[list[Any]] = [
        ["WGPEER_A_PUBLIC_KEY", base64.b64encode(peer.public_key)],
        ["WGPEER_A_FLAGS", flags],
    ]
    if peer.preshared_key is not None:
        attributes.append(["WGPEER_A_PRESHARED_KEY", base64.b64encode(peer.preshared_key)])
    if peer.endpoint is not None:
        ip, port, scope = peer.endpoint
        endpoint: dict[str, Any] = {"addr": ip, "port": port}
        if ":" in ip:
            # The kernel reads sin6_scope_id in host order, the library writes it in network order.
            endpoint.update(flowinfo=0, scope_id=socket.htonl(scope))
        attributes.append(["WGPEER_A_ENDPOINT", endpoint])
    if peer.persistent_keepalive is not None:
        attributes.append(["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.persistent_keepalive])
    if peer.allowed_ips:
        attributes.append(["WGPEER_A_ALLOWEDIPS", [{"attrs": _allowed_ip(ip)} for ip in peer.allowed_ips]])
    return attributes


def _allowed_ip(prefix: str) -> list[list[Any]]:
    ip, length = prefix.split("/")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return [
        ["WGALLOWEDIP_A_FAMILY", int(family)],
        ["WGALLOWEDIP_A_IPADDR", socket.inet_pton(family, ip)],
        ["WGALLOWEDIP_A_CIDR_MASK", int(length)],
    ]


def _peer_state(attributes: Any) -> PeerState:
    handshake = attributes.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    nanoseconds = handshake["tv_sec"] * 10**9 + handshake["tv_nsec"] if handshake else 0
    endpoint = attributes.get_attr("WGPEER_A_ENDPOINT")
    public_key = _key(attributes.get_attr("WGPEER_A_PUBLIC_KEY"))
    return PeerState(
        public_key=public_key or _NO_KEY,
        preshared_key=_key(attributes.get_attr("WGPEER_A_PRESHARED_KEY")),
        endpoint=_endpoint(endpoint) if endpoint else None,
        allowed_ips=tuple(ip["addr"] for ip in attributes.get_attr("WGPEER_A_ALLOWEDIPS") or ()),
        persistent_keepalive=attributes.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        latest_handshake_ns=nanoseconds,
        rx_bytes=attributes.get_attr("WGPEER_A_RX_BYTES") or 0,
        tx_bytes=attributes.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _endpoint(found: Any) -> str:
    scope = socket.ntohl(found.get("scope_id") or 0)
    return join_endpoint(f"{found['addr']}%{scope}" if scope else found["addr"], found["port"])


def _key(found: Any) -> Optional[bytes]:
    """The library has keys in base64, sometimes within a dict; 32 zero bytes are none."""
    if isinstance(found, dict):
        found = found["value"]
    key = base64.b64decode(found) if found else _NO_KEY
    return None if key == _NO_KEY else key
