"""The report: what a host says it is. The other contract between controller and agent.

Job: the dataclasses of what was observed, what differs and how links fare. No secret is ever here: a
key that is set on a device appears as the reference of the secret it equals. Refuses to know how
observations are made. Called by resident.engine (which makes reports), converge and the controller.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Literal, Optional

from agent.bundle import HIGHEST_REVISION, Gateway, Route, check_fleet
from agent.codec import LATER, decode, encode
from agent.egress import Guard, Rule
from agent.secret import SecretRef

VERSION = 1
FOREIGN = SecretRef("foreign", 1)
"""Stands for a key that is set on the device but equals no secret that the agent holds."""

Action = Literal["add", "change", "remove"]
LinkState = Literal["up", "idle", "down"]


@dataclass(frozen=True)
class Change:
    """One difference between what should be (`expected`) and what is (`actual`); None where there is nothing.

    `layer` is one of runtime, bundle, interface, device, peer, address, route, forwarding, firewall, egress;
    `item` names the thing within it (`wg0`, `wg0 peer oslo`). Values are JSON scalars or lists of them,
    secrets as `ID generation N`.
    """

    layer: str
    item: str
    action: Action
    expected: Any = None
    actual: Any = None


@dataclass(frozen=True)
class ObservedPeer:
    """A peer as the device has it; `latest_handshake` in seconds of the host's wall clock, None for never."""

    public_key: str
    preshared_key: Optional[SecretRef] = None
    endpoint: Optional[str] = None
    allowed_ips: tuple[str, ...] = ()
    persistent_keepalive: int = 0
    latest_handshake: Optional[float] = None
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True)
class ObservedInterface:
    """An interface as the host has it; `routes` are only those that carry our protocol number.

    `answers`: whether its device could be asked; if not, what only the device knows is not here. `netns`: the
    network namespace that it is in, None for the host's own.
    """

    name: str
    backend: Literal["kernel", "userspace"]
    up: bool
    mtu: int
    private_key: Optional[SecretRef] = None
    public_key: Optional[str] = None
    listen_port: int = 0
    fwmark: int = 0
    addresses: tuple[str, ...] = ()
    peers: tuple[ObservedPeer, ...] = ()
    routes: tuple[Route, ...] = ()
    answers: bool = True
    netns: Optional[str] = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for address in self.addresses:
            ipaddress.ip_interface(address)


@dataclass(frozen=True)
class ObservedFirewall:
    """Our firewall table of an interface, which may be there without the interface.

    `gateway` and `guard` are what it was written for, both None where that is not known; `altered` says what
    is not as it was written, None where all is. `netns` is the network namespace that it is in, None for the
    host's own.
    """

    interface: str
    gateway: Optional[Gateway] = None
    altered: Optional[str] = None
    guard: Optional[Guard] = field(default=None, metadata=LATER)
    netns: Optional[str] = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class Observed:
    """A host's network as far as bundles reach: the interfaces that one names or named, and forwarding.

    `shared` names the layers of the whole host that another fleet on it wants too, so that they stay.
    `rules` are those of routing policy that are ours; `marks_validated`: reverse path filters reckon with
    marks; where nothing of ours needs that, this is false as long as a full tunnel of somebody else does.
    `forwarding_left`: a network namespace that an interface was in before forwards still, because of us.
    """

    interfaces: tuple[ObservedInterface, ...] = ()
    forwarding: bool = False
    firewalls: tuple[ObservedFirewall, ...] = field(default=(), metadata=LATER)
    shared: tuple[Literal["forwarding"], ...] = field(default=(), metadata=LATER)
    rules: tuple[Rule, ...] = field(default=(), metadata=LATER)
    marks_validated: bool = field(default=False, metadata=LATER)
    forwarding_left: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True)
class Link:
    """How the link to one peer fares.

    up: handshake younger than 180 s, or idle by design and answering; down: calls unanswered; idle: the rest.
    `host` is the peer's host name. An age that does not exist is None.
    """

    interface: str
    host: str
    state: LinkState
    latest_handshake_seconds: Optional[int]
    endpoint: Optional[str]
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True)
class OtherFleet:
    """Another fleet that the host is in: `name` is its id, `bundle_version` None where it cannot be read."""

    name: str
    bundle_version: Optional[int]


@dataclass(frozen=True)
class Report:
    """What a host says it is.

    `release` is the digest of the agent's own code; fleet, revision and digest are None before the
    first bundle. `pending` is what converging would still change; `problems` are sentences for people.
    `restarts` counts restarts of each interface's tunnel process; `time` is the host's wall clock.
    All of this is about one fleet; `others` are those that the host is in besides.
    """

    version: int
    release: str
    host: Optional[str]
    fleet: Optional[str]
    fleet_name: Optional[str]
    revision: Optional[int]
    digest: Optional[str]
    secrets: tuple[SecretRef, ...]
    observed: Observed
    pending: tuple[Change, ...]
    links: tuple[Link, ...]
    problems: tuple[str, ...]
    restarts: dict[str, int]
    time: float
    others: tuple[OtherFleet, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"report version {self.version}; this controller speaks version {VERSION}")
        if self.fleet is not None:
            check_fleet(self.fleet)  # the controller names files after it
        if self.revision is not None and not 1 <= self.revision < HIGHEST_REVISION:
            raise ValueError(f"revision: {self.revision} is none")


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; `from_json` reads it back."""
    document: dict[str, Any] = encode(report)
    return document


def from_json(value: Any) -> Report:
    """Raises CodecError, which names the field, for anything that is not a report of this version."""
    return decode(Report, value)
