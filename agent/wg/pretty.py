"""`show IFACE`: a device as people like to read it. Pure: the time and the colours are given.

Called by wg.main. Source: measured on wireguard-tools 1.0.20210914, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.host.device import DeviceState, PeerState
from agent.wg import text

# ECMA-48, SGR
_RESET, _BOLD, _GREEN, _YELLOW, _CYAN = "\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[36m"

_HIDDEN = "(hidden)"
_UNITS = (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True)
class Style:
    """Whether colours are used, and whether private and preshared keys are shown."""

    colours: bool = False
    keys: bool = False

    def paint(self, codes: str, words: str) -> str:
        return f"{codes}{words}{_RESET}" if self.colours else words


def render(name: str, device: DeviceState, now: int, style: Style) -> str:
    """The device, then its peers, those heard last first; `now` in seconds of the wall clock."""
    start = style.paint("", "") + _title(style, _GREEN, "interface", name)
    blocks = [start + "".join(_line(style, label, value) for label, value in _device(device, style))]
    for peer in sorted(device.peers, key=lambda peer: -peer.latest_handshake_ns):
        title = _title(style, _YELLOW, "peer", text.key(peer.public_key))
        blocks.append(title + "".join(_line(style, label, value) for label, value in _peer(peer, now, style)))
    return "\n".join(blocks)


def _device(device: DeviceState, style: Style) -> Iterator[tuple[str, str]]:
    if device.public_key is not None:
        yield "public key", text.key(device.public_key)
    if device.private_key is not None:
        yield "private key", text.key(device.private_key) if style.keys else _HIDDEN
    if device.listen_port:
        yield "listening port", str(device.listen_port)
    if device.fwmark:
        yield "fwmark", text.fwmark(device.fwmark)


def _peer(peer: PeerState, now: int, style: Style) -> Iterator[tuple[str, str]]:
    if peer.preshared_key is not None:
        yield "preshared key", text.key(peer.preshared_key) if style.keys else _HIDDEN
    if peer.endpoint is not None:
        yield "endpoint", text.endpoint(peer.endpoint)
    slash = style.paint(_CYAN, "/")
    prefixes = (text.prefix(prefix).replace("/", slash) for prefix in peer.allowed_ips)
    yield "allowed ips", ", ".join(prefixes) or text.NONE
    seconds = peer.latest_handshake_ns // 10**9
    if seconds:
        yield "latest handshake", _ago(now - seconds, style)
    if peer.rx_bytes or peer.tx_bytes:
        yield "transfer", f"{_size(peer.rx_bytes, style)} received, {_size(peer.tx_bytes, style)} sent"
    if peer.persistent_keepalive:
        yield "persistent keepalive", f"every {_duration(peer.persistent_keepalive, style)}"


def _title(style: Style, colour: str, kind: str, name: str) -> str:
    return f"{style.paint(colour + _BOLD, kind)}: {style.paint(colour, name)}\n"


def _line(style: Style, label: str, value: str) -> str:
    return f"  {style.paint(_BOLD, label)}: {value}\n"


def _ago(seconds: int, style: Style) -> str:
    if seconds == 0:
        return "Now"
    if seconds < 0:
        return (
            "(" + style.paint("\x1b[31m", "System clock wound backward; connection problems may ensue.") + ")"
        )
    return f"{_duration(seconds, style)} ago"


def _duration(seconds: int, style: Style) -> str:
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {style.paint(_CYAN, unit if count == 1 else unit + 's')}")
    return ", ".join(parts)


def _size(count: int, style: Style) -> str:
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.2f} {style.paint(_CYAN, unit)}"
    return f"{count} {style.paint(_CYAN, 'B')}"
