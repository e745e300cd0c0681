"""`show IFACE FIELD`: one field of a device as lines for scripts. Pure. Called by wg.main.

A line is its cells with tabs between them. Source: wg(8), show; the rest measured on wireguard-tools
1.0.20210914.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from agent.host.device import DeviceState, PeerState
from agent.wg import text

Lines = Iterator[list[str]]


def _each(*cells: Callable[[PeerState], str]) -> Callable[[DeviceState], Lines]:
    """A line for each peer, its public key first."""

    def lines(device: DeviceState) -> Lines:
        for peer in device.peers:
            yield [text.key(peer.public_key), *(cell(peer) for cell in cells)]

    return lines


def _one(cell: Callable[[DeviceState], str]) -> Callable[[DeviceState], Lines]:
    return lambda device: iter([[cell(device)]])


def _allowed_ips(peer: PeerState, separator: str) -> str:
    return separator.join(map(text.prefix, peer.allowed_ips)) or text.NONE


def _latest_handshake(peer: PeerState) -> str:
    return str(peer.latest_handshake_ns // 10**9)


def _dump(device: DeviceState) -> Lines:
    yield [
        text.key(device.private_key),
        text.key(device.public_key),
        str(device.listen_port),
        text.fwmark(device.fwmark),
    ]
    for peer in device.peers:
        yield [
            text.key(peer.public_key),
            text.key(peer.preshared_key),
            text.endpoint(peer.endpoint),
            _allowed_ips(peer, ","),
            _latest_handshake(peer),
            str(peer.rx_bytes),
            str(peer.tx_bytes),
            text.keepalive(peer.persistent_keepalive),
        ]


FIELDS: dict[str, Callable[[DeviceState], Lines]] = {
    "public-key": _one(lambda device: text.key(device.public_key)),
    "private-key": _one(lambda device: text.key(device.private_key)),
    "listen-port": _one(lambda device: str(device.listen_port)),
    "fwmark": _one(lambda device: text.fwmark(device.fwmark)),
    "peers": _each(),
    "preshared-keys": _each(lambda peer: text.key(peer.preshared_key)),
    "endpoints": _each(lambda peer: text.endpoint(peer.endpoint)),
    "allowed-ips": _each(lambda peer: _allowed_ips(peer, " ")),
    "latest-handshakes": _each(_latest_handshake),
    "transfer": _each(lambda peer: str(peer.rx_bytes), lambda peer: str(peer.tx_bytes)),
    "persistent-keepalive": _each(lambda peer: text.keepalive(peer.persistent_keepalive)),
    "dump": _dump,
}
"""By their names, in the order in which the usage text has them."""


def render(field: str, device: DeviceState, interface: str | None = None) -> str:
    """The lines of `field`; with `interface`, that is the first cell of each. Raises KeyError."""
    first = [] if interface is None else [interface]
    return "".join("\t".join([*first, *cells]) + "\n" for cells in FIELDS[field](device))
