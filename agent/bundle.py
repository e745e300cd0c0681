"""The bundle: what a host should be. One of the two contracts between controller and agent.

Job: the dataclasses, their limits, their digest. Secrets are here by reference only, so a bundle may
appear in plans, diffs and history. Refuses to know how a host is changed. Called by topology (which
makes bundles), converge (which compares them with a host) and the agent's store (which keeps one as
the host's boot state).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, Optional

from agent.codec import LATER, decode, encode
from agent.secret import SecretRef

VERSION = 1
HIGHEST_REVISION = 2**63 - 1
"""What SQLite can count to; a report stays below it, so that there is a next one."""
Backend = Literal["auto", "kernel", "userspace"]

EVERYTHING = ("0.0.0.0/0", "::/0")

KERNEL_TABLES = DEFAULT_TABLE, MAIN_TABLE, LOCAL_TABLE = (253, 254, 255)
"""Routing tables of the kernel's own (include/uapi/linux/rtnetlink.h)."""

_CHECKED = 1 << 17
"""How many values are remembered as good: in a mesh of a thousand hosts each occurs a thousand times."""

_NETNS = re.compile(r"[a-zA-Z0-9_+=@:.-]{1,255}")
_INTERFACE_NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")


@dataclass(frozen=True)
class Peer:
    """One WireGuard peer of an interface.

    `name` is the peer's host name, `addresses` are its own in the overlay; `endpoint` is `host:port` or
    `[v6]:port`, a name being resolved by the agent, None where the peer has to call first; `allowed_ips`
    are canonical prefixes; `persistent_keepalive` is in seconds, 0 for off.
    """

    name: str
    public_key: str
    preshared_key: Optional[SecretRef]
    endpoint: Optional[str]
    allowed_ips: tuple[str, ...]
    persistent_keepalive: int = 0
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_key(self.public_key)
        for address in self.addresses:
            _check_address(address)
        _check_range("persistent_keepalive", self.persistent_keepalive, 0, 65535)
        for prefix in self.allowed_ips:
            _check_prefix(prefix)
        if self.endpoint is not None:
            split_endpoint(self.endpoint)


@dataclass(frozen=True)
class Route:
    """A prefix that leaves through the interface it is listed under, `source` being the preferred source.

    `table` is the number of the routing table that it is in, None for the main one.
    """

    destination: str
    source: Optional[str] = None
    table: Optional[int] = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        _check_prefix(self.destination)
        if self.source is not None:
            _check_address(self.source)

    @property
    def is_everything(self) -> bool:
        """Whether it is what is taken where there is no narrower route."""
        return self.destination in EVERYTHING


@dataclass(frozen=True)
class Gateway:
    """What is done to packets that the host passes on between its interface in the fleet and other networks.

    `clamp_mss`: TCP connections through the interface, either way, agree on segments that fit the path's
    MTU. `masquerade` names interfaces: connections that come out of the tunnel from an address within
    `sources` and leave by one of them carry its address.
    """

    clamp_mss: bool = False
    masquerade: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.clamp_mss or self.masquerade):
            raise ValueError("a gateway that does nothing is none")
        if bool(self.masquerade) != bool(self.sources):
            raise ValueError("masquerade and sources: neither is without the other")
        for name in self.masquerade:
            check_interface_name(name)
        for prefix in self.sources:
            _check_prefix(prefix)
        _check_unique("masquerade", list(self.masquerade))
        _check_unique("source", list(self.sources))


@dataclass(frozen=True)
class Interface:
    """One WireGuard device, its addresses (`a.b.c.d/len`) and routes; `fwmark` 0 for none.

    `mtu` in bytes, None for what fits the ways to the peers; `gateway`: None where nothing is done to what is
    passed on; `netns` names the network namespace (ip-netns(8)) that the interface is in, None for the host's
    own, in which its UDP side always is. In the host's own, a route for everything lies in the table whose
    number is the mark's, see `agent.egress`.
    """

    name: str
    backend: Backend
    private_key: SecretRef
    public_key: str
    listen_port: int
    mtu: Optional[int]
    addresses: tuple[str, ...]
    peers: tuple[Peer, ...]
    routes: tuple[Route, ...]
    fwmark: int = 0
    gateway: Optional[Gateway] = field(default=None, metadata=LATER)
    netns: Optional[str] = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_interface_name(self.name)
        if self.gateway is not None and self.name in self.gateway.masquerade:
            raise ValueError(f"masquerade: {self.name} leads into the fleet")
        _check_key(self.public_key)
        _check_range("listen_port", self.listen_port, 0, 65535)
        if self.mtu is not None:
            _check_range("mtu", self.mtu, 576, 65535)
        if self.netns is not None:
            check_netns(self.netns)
        _check_range("fwmark", self.fwmark, 0, 2**32 - 1)
        for address in self.addresses:
            ipaddress.ip_interface(address)
        for route in self.routes:
            self._check_table(route)
        _check_unique("peer", [peer.public_key for peer in self.peers])
        _check_unique("allowed_ip", [prefix for peer in self.peers for prefix in peer.allowed_ips])

    def _check_table(self, route: Route) -> None:
        """In a namespace of its own nothing but the tunnel's inside is there to be led astray."""
        if not route.is_everything or self.netns is not None:
            if route.table is not None:
                raise ValueError(f"route {route.destination}: its table is the main one")
        elif not self.fwmark or self.fwmark in KERNEL_TABLES:
            raise ValueError(
                f"route {route.destination}: without a fwmark (other than 253 to 255) the tunnel's own "
                "datagrams would go into the tunnel"
            )
        elif route.table != self.fwmark:
            raise ValueError(f"route {route.destination}: its table is the one of the fwmark, {self.fwmark}")


@dataclass(frozen=True)
class Bundle:
    """Everything a host should be.

    `fleet` is the fleet's random id, `revision` rises with every change of intent; an agent refuses
    another id and a lower revision. `forwarding` turns on IP forwarding for both families. No two
    interfaces share a name or a route's destination.
    """

    version: int
    fleet: str
    fleet_name: str
    host: str
    revision: int
    interfaces: tuple[Interface, ...]
    forwarding: bool = False
    self_heal: bool = False

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"bundle version {self.version}; this agent speaks version {VERSION}")
        check_fleet(self.fleet)
        _check_range("revision", self.revision, 1, HIGHEST_REVISION)
        _check_unique("interface", [interface.name for interface in self.interfaces])
        # Each of two interfaces with one destination would take it from the other again and again.
        routes = [route.destination for interface in self.interfaces for route in interface.routes]
        _check_unique("route", routes)

    def digest(self) -> str:
        """SHA-256, hexadecimal, of everything but the revision: equal digests need no new delivery."""
        document = to_json(replace(self, revision=1))
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def secret_refs(self) -> frozenset[SecretRef]:
        """Every secret that the host must hold for this bundle."""
        refs = {interface.private_key for interface in self.interfaces}
        for interface in self.interfaces:
            refs |= {peer.preshared_key for peer in interface.peers if peer.preshared_key is not None}
        return frozenset(refs)


def to_json(bundle: Bundle) -> dict[str, Any]:
    """The bundle as JSON values; `from_json` reads it back."""
    document: dict[str, Any] = encode(bundle)
    return document


def from_json(value: Any) -> Bundle:
    """Raises CodecError, which names the field, for anything that is not a bundle of this version."""
    return decode(Bundle, value)


@lru_cache(maxsize=_CHECKED)
def split_endpoint(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` in two. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"endpoint {text!r}: an IPv6 address goes in brackets, [2001:db8::1]:51820")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"endpoint {text!r}: expected HOST:PORT")
    return host, int(port)


def join_endpoint(host: str, port: int) -> str:
    """The inverse of `split_endpoint`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_fleet(fleet: str) -> None:
    """Raises ValueError for what is no fleet's id."""
    if not re.fullmatch(r"[0-9a-f]{32}", fleet):
        raise ValueError("fleet: expected 32 hexadecimal digits")


def check_interface_name(name: str) -> None:
    """Raises ValueError for what Linux (net/core/dev.c, dev_valid_name) or wg-quick would not take."""
    if not _INTERFACE_NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"interface {name!r}: 1 to 15 letters, digits and _=+.-")


def check_netns(name: str) -> None:
    """Raises ValueError for what is no name of a network namespace (a file in /run/netns)."""
    if not _NETNS.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"netns {name!r}: 1 to 255 letters, digits and _+=@:.-")


@lru_cache(maxsize=_CHECKED)
def _check_key(text: str) -> None:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != 32 or len(text) != 44:
        raise ValueError("public_key: expected the base64 of 32 bytes")


@lru_cache(maxsize=_CHECKED)
def _check_address(text: str) -> None:
    ipaddress.ip_address(text)


@lru_cache(maxsize=_CHECKED)
def _check_prefix(text: str) -> None:
    if str(ipaddress.ip_network(text)) != text:
        raise ValueError(f"{text}: expected a canonical prefix")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}: {value} is not between {low} and {high}")


def _check_unique(what: str, values: list[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value} occurs twice")
        seen.add(value)
