"""The kernel's WireGuard devices, over generic netlink.

Job: ask for devices, and word changes as netlink messages. Refuses to know what answers mean (dump does),
links, addresses and routes. Called by host. Source of the messages: Linux, include/uapi/linux/wireguard.h.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Callable

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_SET_DEVICE,
    WG_GENL_VERSION,
    WGDEVICE_F_REPLACE_PEERS,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS,
    WGPEER_F_UPDATE_ONLY,
    WireGuard,
    wgmsg,
)

from agent.host.device import DeviceEdit, DeviceState, PeerEdit
from agent.host.dump import Dump, dump_request
from agent.host.genetlink import Connection, family_number, family_request

MOST_PREFIXES = 1000
"""A message's: 40 bytes each, and its list of peers must fit into the 64 KiB of an attribute."""
_PEER = 5
"""What a peer takes besides its AllowedIPs, counted in prefixes."""

_FAMILY = "wireguard"
_ATTEMPTS = 5
_MESSAGE: Any = wgmsg


class KernelDevice:
    """Implements agent.host.device.Device.

    Devices are read by `connect`'s connections, one a reading, which belong to the network namespace of the
    thread; `library` opens the library's generic netlink sockets, which write. To read with the library too
    takes ten times as long, and leaves megabytes of memory in holes.
    """

    def __init__(
        self, connect: Callable[[], Connection] = Connection, library: Callable[[], Any] = WireGuard
    ) -> None:
        self._connect = connect
        self._library = library

    def read(self, interface: str) -> DeviceState:
        """Raises OSError: ENOENT where this kernel has no WireGuard, EPROTO for an answer that is none."""
        with closing(self._connect()) as connection:
            connection.send(family_request(_FAMILY))
            family = family_number(connection.receive())
            for _ in range(_ATTEMPTS):  # until nobody changed the device meanwhile
                dump = Dump(family)
                connection.send(dump_request(family, interface))
                while not dump.complete:
                    dump.feed(connection.receive())
                if not dump.interrupted:
                    break
            return dump.state()

    def write(self, interface: str, edit: DeviceEdit) -> None:
        """Raises OSError; messages before the one that failed have had their effect."""
        try:
            for message in messages(interface, edit):
                with closing(self._library()) as sock:
                    flags = NLM_F_REQUEST | NLM_F_ACK
                    tuple(sock.nlm_request(message, msg_type=sock.prid, msg_flags=flags))
        except NetlinkError as error:
            raise OSError(error.code, str(error.args[-1])) from error


def messages(interface: str, edit: DeviceEdit) -> Iterator[Any]:
    """The change as netlink messages, a peer with many AllowedIPs spread over several."""
    message = _message(interface)
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
            message = _message(interface)
        message["attrs"].append(["WGDEVICE_A_PEERS", [{"attrs": _peer(peer)} for peer in peers]])
    yield message


def _message(interface: str) -> Any:
    message: Any = _MESSAGE()
    message["cmd"] = WG_CMD_SET_DEVICE
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
