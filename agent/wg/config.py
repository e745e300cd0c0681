"""Configuration files in wg's format.

Job: `sections` takes the text apart and knows no key; `parse` is what the keys mean to a device; `render`
is the inverse. Pure: resolves no name. Refuses to know what becomes of it. Called by wg.main and edit.

Source: wg(8), CONFIGURATION FILE FORMAT; the rest measured on wireguard-tools 1.0.20210914, which takes all
white space out of a line. It takes ports above 65535 modulo 65536, which is refused here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable, NamedTuple, Optional

from agent.host.device import DeviceState, PeerState
from agent.wg import keys, text

INTERFACE, PEER = "interface", "peer"

_MOST_PORT = 65535
_MOST_KEEPALIVE = 65535
_MOST_MARK = 2**32 - 1
_NO_SPACE = {ord(letter): None for letter in " \t\n\v\f\r"}
_DECIMAL = frozenset("0123456789")
_HEXADECIMAL = _DECIMAL | frozenset("abcdefABCDEF")


class ConfigError(ValueError):
    """`FILE:LINE: what is wrong`. Never repeats what may be a secret."""


class Entry(NamedTuple):
    """`key = value` in a section; `value` without white space around it."""

    key: str
    value: str
    line: int


@dataclass
class Section:
    """A `[kind]`, in small letters, and its entries; `line` is the header's."""

    kind: str
    line: int
    entries: list[Entry] = field(default_factory=list)


class Endpoint(NamedTuple):
    """A name or an address, and where it was said."""

    host: str
    port: int
    line: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass
class PeerConfig:
    """A peer as a file has it; what is None is not in it. 32 zero bytes mean no preshared key."""

    public_key: bytes = b""
    preshared_key: Optional[bytes] = field(default=None, repr=False)
    allowed_ips: list[str] = field(default_factory=list)
    endpoint: Optional[Endpoint] = None
    persistent_keepalive: Optional[int] = None


@dataclass
class Config:
    """A device as a file has it; what is None is not in it. `warnings` are lines for people."""

    private_key: Optional[bytes] = field(default=None, repr=False)
    listen_port: Optional[int] = None
    fwmark: Optional[int] = None
    peers: list[PeerConfig] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def sections(content: str, file: str) -> list[Section]:
    """The sections of a file in their order, whatever their keys. Raises ConfigError."""
    found: list[Section] = []
    for number, line in enumerate(content.split("\n"), 1):
        words = line.partition("#")[0]
        packed = pack(words)
        if not packed:
            continue
        if packed.startswith("[") and packed.endswith("]"):
            found.append(Section(packed[1:-1].lower(), number))
            continue
        key, equals, value = words.partition("=")
        if not equals or not pack(value) or not pack(key):
            raise ConfigError(f"{file}:{number}: expected [SECTION] or KEY = VALUE")
        if not found:
            raise ConfigError(f"{file}:{number}: {pack(key)} stands before the first [SECTION]")
        found[-1].entries.append(Entry(pack(key), value.strip(), number))
    return found


def pack(words: str) -> str:
    """Without any white space."""
    return words.translate(_NO_SPACE)


def parse(content: str, file: str) -> Config:
    """What `setconf` takes. Raises ConfigError."""
    config = Config()
    for section in sections(content, file):
        if section.kind == INTERFACE:
            for entry in section.entries:
                _apply(_INTERFACE_KEYS, config, config, entry, section, file)
        elif section.kind == PEER:
            peer = PeerConfig()
            for entry in section.entries:
                _apply(_PEER_KEYS, peer, config, entry, section, file)
            if not peer.public_key:
                raise ConfigError(f"{file}:{section.line}: this peer has no PublicKey")
            config.peers.append(peer)
        else:
            raise ConfigError(f"{file}:{section.line}: unknown section [{section.kind}]")
    return config


def render(device: DeviceState) -> str:
    """What `showconf` prints."""
    lines = ["[Interface]"]
    if device.listen_port:
        lines.append(f"ListenPort = {device.listen_port}")
    if device.fwmark:
        lines.append(f"FwMark = {text.fwmark(device.fwmark)}")
    if device.private_key is not None:
        lines.append(f"PrivateKey = {text.key(device.private_key)}")
    lines.append("")
    for peer in device.peers:
        lines += [*_peer_lines(peer), ""]
    return "\n".join(lines if device.peers else [*lines, ""])


def _peer_lines(peer: PeerState) -> Iterator[str]:
    yield "[Peer]"
    yield f"PublicKey = {text.key(peer.public_key)}"
    if peer.preshared_key is not None:
        yield f"PresharedKey = {text.key(peer.preshared_key)}"
    if peer.allowed_ips:
        yield f"AllowedIPs = {', '.join(map(text.prefix, peer.allowed_ips))}"
    if peer.endpoint is not None:
        yield f"Endpoint = {text.endpoint(peer.endpoint)}"
    if peer.persistent_keepalive:
        yield f"PersistentKeepalive = {peer.persistent_keepalive}"


class _Place(NamedTuple):
    """Where a value stands, and where warnings go."""

    file: str
    line: int
    warnings: list[str]


_Reader = Callable[[str, _Place], object]


def _apply(
    known: dict[str, tuple[str, _Reader]],
    target: object,
    config: Config,
    entry: Entry,
    section: Section,
    file: str,
) -> None:
    """Reads one entry into its attribute of `target`; lists grow, for the rest the last one counts."""
    if entry.key.lower() not in known:
        raise ConfigError(f"{file}:{entry.line}: unknown key {entry.key} in [{section.kind.capitalize()}]")
    attribute, read = known[entry.key.lower()]
    try:
        value = read(pack(entry.value), _Place(file, entry.line, config.warnings))
    except ValueError as error:
        raise ConfigError(f"{file}:{entry.line}: {entry.key}: {error}") from None
    if isinstance(value, list):
        value = getattr(target, attribute) + value
    setattr(target, attribute, value)


def _key(value: str, _place: _Place) -> bytes:
    return keys.decode(value)


def _port(value: str, _place: _Place) -> int:
    return _number(value, _MOST_PORT, "0 to 65535")


def _mark(value: str, _place: _Place) -> int:
    if value.lower() == text.OFF:
        return 0
    if value.startswith("0x"):
        digits = value[2:]
        if digits and _HEXADECIMAL.issuperset(digits) and int(digits, 16) <= _MOST_MARK:
            return int(digits, 16)
    return _number(value, _MOST_MARK, "off, 0 to 4294967295 or 0x0 to 0xffffffff")


def _keepalive(value: str, _place: _Place) -> int:
    return 0 if value.lower() == text.OFF else _number(value, _MOST_KEEPALIVE, "off or 0 to 65535")


def _number(value: str, most: int, expected: str) -> int:
    digits = value.lstrip("0")[: len(str(most)) + 1]  # Python refuses to read thousands of them
    if value and _DECIMAL.issuperset(value) and int(digits or "0") <= most:
        return int(digits or "0")
    raise ValueError(f"expected {expected}, not {value!r}")


def _prefixes(value: str, place: _Place) -> list[str]:
    return [_prefix(word, place) for word in value.split(",")]


def _prefix(word: str, place: _Place) -> str:
    """The address in its usual form, with the bits that are beyond the mask: devices mask them."""
    ip, slash, length = word.partition("/")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        packed = socket.inet_pton(family, ip)
    except (OSError, ValueError):
        raise ValueError(f"expected IP or IP/LENGTH, separated by commas, not {word!r}") from None
    width = len(packed) * 8
    bits = _number(length, width, f"a length of 0 to {width}") if slash else width
    if int.from_bytes(packed, "big") & ((1 << (width - bits)) - 1):
        place.warnings.append(f"{place.file}:{place.line}: AllowedIPs: {word} has bits beyond its mask")
    return f"{socket.inet_ntop(family, packed)}/{bits}"


def _endpoint(value: str, place: _Place) -> Endpoint:
    """Brackets may stand around anything, and need not around an IPv6 address: the last colon counts."""
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif value.startswith("["):
        raise ValueError(f"expected HOST:PORT or [IPv6]:PORT, not {value!r}")
    if not colon or not host or not port:
        raise ValueError(f"expected HOST:PORT or [IPv6]:PORT, not {value!r}")
    return Endpoint(host, _number(port, _MOST_PORT, "a port of 0 to 65535"), place.line)


_INTERFACE_KEYS: dict[str, tuple[str, _Reader]] = {
    "privatekey": ("private_key", _key),
    "listenport": ("listen_port", _port),
    "fwmark": ("fwmark", _mark),
}
_PEER_KEYS: dict[str, tuple[str, _Reader]] = {
    "publickey": ("public_key", _key),
    "presharedkey": ("preshared_key", _key),
    "allowedips": ("allowed_ips", _prefixes),
    "endpoint": ("endpoint", _endpoint),
    "persistentkeepalive": ("persistent_keepalive", _keepalive),
}
