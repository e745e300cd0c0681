"""What can be done to a host, one operation a value. Pure.

Job: the operations of which converge makes its steps, and the step: an operation with the difference that
it mends. Refuses to know why and how one is done. Called by converge, which makes them, and by host, which
does them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from agent.bundle import Backend, Gateway, Route
from agent.egress import Guard, Rule
from agent.report import Change
from agent.secret import SecretRef


@dataclass(frozen=True)
class AddInterface:
    """Make a WireGuard device; with `instead`, one that does not fit has to go first.

    `netns` names the network namespace that it is put into, None for the agent's own.
    """

    interface: str
    backend: Backend
    instead: bool = False
    netns: Optional[str] = None


@dataclass(frozen=True)
class RemoveInterface:
    """Remove a WireGuard device with everything on it."""

    interface: str


@dataclass(frozen=True)
class SetLink:
    """Set what is not None; `mtu` in bytes."""

    interface: str
    mtu: Optional[int] = None
    up: Optional[bool] = None


@dataclass(frozen=True)
class SetDevice:
    """Set what is not None; a `fwmark` of 0 is none."""

    interface: str
    private_key: Optional[SecretRef] = None
    listen_port: Optional[int] = None
    fwmark: Optional[int] = None


@dataclass(frozen=True)
class SetPeer:
    """Set what is not None, and add `allowed_ips` to those that the peer has.

    `new`: make the peer; otherwise it must exist. `no_preshared_key` takes the pre-shared key away.
    """

    interface: str
    name: str
    public_key: str
    new: bool = False
    preshared_key: Optional[SecretRef] = None
    no_preshared_key: bool = False
    endpoint: Optional[str] = None
    persistent_keepalive: Optional[int] = None
    allowed_ips: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoveAllowedIPs:
    """Take prefixes that nobody should have any more from a peer, leaving its others alone."""

    interface: str
    name: str
    public_key: str
    allowed_ips: tuple[str, ...]


@dataclass(frozen=True)
class RemovePeer:
    """Remove a peer, its session and its AllowedIPs."""

    interface: str
    name: str
    public_key: str


@dataclass(frozen=True)
class AddAddress:
    """`address` is `a.b.c.d/len`."""

    interface: str
    address: str


@dataclass(frozen=True)
class RemoveAddress:
    """`address` is `a.b.c.d/len`."""

    interface: str
    address: str


@dataclass(frozen=True)
class SetRoute:
    """Route through the interface. `instead`: a route of ours for this destination is to be replaced."""

    interface: str
    route: Route
    instead: bool = False


@dataclass(frozen=True)
class RemoveRoute:
    """Remove a route of ours."""

    interface: str
    route: Route


@dataclass(frozen=True)
class SetForwarding:
    """IP forwarding of both families; off means: as it was before we switched it on.

    It is that of the network namespaces that the interfaces are in; with `left`, of those that they left.
    """

    on: bool
    left: bool = False


@dataclass(frozen=True)
class SetFirewall:
    """Make our firewall table of the interface this, whatever is in it; nothing of others is touched."""

    interface: str
    gateway: Optional[Gateway] = None
    guard: Optional[Guard] = None
    netns: Optional[str] = None


@dataclass(frozen=True)
class RemoveFirewall:
    """Remove our firewall table of the interface."""

    interface: str
    netns: Optional[str] = None


@dataclass(frozen=True)
class SetMarkValidation:
    """Whether reverse path filters reckon with marks; off means: as it was before we switched it on."""

    on: bool


@dataclass(frozen=True)
class AddRule:
    """Have packets ask the table of the full tunnel of an interface; `through`: its peer's public key."""

    interface: str
    rule: Rule
    through: str


@dataclass(frozen=True)
class RemoveRule:
    """Remove a rule of ours."""

    rule: Rule


Operation = Union[
    AddInterface,
    RemoveInterface,
    SetLink,
    SetDevice,
    SetPeer,
    RemoveAllowedIPs,
    RemovePeer,
    AddAddress,
    RemoveAddress,
    SetRoute,
    RemoveRoute,
    SetForwarding,
    SetFirewall,
    RemoveFirewall,
    SetMarkValidation,
    AddRule,
    RemoveRule,
]


@dataclass(frozen=True)
class Step:
    """One step: the difference as people see it, and what to do about it."""

    change: Change
    operation: Operation
