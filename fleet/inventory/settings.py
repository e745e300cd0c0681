"""The keys of `fleet` and the `fleet_` variables: what there is, its type, its default, its meaning.

The one place to add a key to: the reference and the refusal of unknown keys follow from it. Refuses to
know hosts and files. Called by `typed` and `reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from fleet.inventory import values
from fleet.inventory.model import Address, Network

DEFAULT_INTERFACE = "wg0"
DEFAULT_PORT = 51820
"""An underlay of 1500 bytes without 40 (IPv6), 8 (UDP) and 32 (transport data, whitepaper section 5.4.6)."""
MIN_MTU = 1280
"""IPv6's (RFC 8200 section 5)."""

Backend = Literal["auto", "kernel", "userspace"]


@dataclass(frozen=True)
class Kind:
    """For the reference: a type in words, and a default where it is not simply the field's."""

    words: str
    default: str = ""
    required: bool = False


def _list(what: str) -> Callable[[Any], list[Any]]:
    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            cure = f": [{value}]" if isinstance(value, str) else f", not {values.describe(value)}"
            raise ValueError(f"expected a list of {what}{cure}")
        return value

    return check


def _number(low: int, high: int) -> Callable[[Any], int]:
    return lambda value: values.number(value, low, high)


def _backend(value: Any) -> str:
    if value not in ("auto", "kernel", "userspace"):
        raise ValueError(f"expected auto, kernel or userspace, not {values.describe(value)}")
    return str(value)


def _patterns(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_Port = PlainValidator(_number(1, 65535))
_Mtu = PlainValidator(_number(MIN_MTU, 65535))
_Flag = PlainValidator(values.flag)
_Interface = PlainValidator(values.interface)
_Network = Annotated[Network, PlainValidator(values.network)]
_Address = Annotated[Address, PlainValidator(values.address)]
_Networks = BeforeValidator(_list("networks"))
_Addresses = BeforeValidator(_list("addresses"))
_WaysOut = BeforeValidator(_list("interfaces"))
_Patterns = Annotated[list[Annotated[str, PlainValidator(values.text)]], BeforeValidator(_patterns)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FleetSettings(_Settings):
    """The dictionary `fleet` in the vars of `all`. Fields that nobody set are at their defaults."""

    name: Annotated[str, PlainValidator(values.fleet_name), Kind("text", required=True)] = Field(
        default="", description="The fleet's name; its state is kept under it."
    )
    pools: Annotated[list[_Network], _Networks, Kind("list of networks", required=True)] = Field(
        default=[], description="Every host gets a stable address of each family from these."
    )
    interface: Annotated[str, _Interface, Kind("text")] = Field(
        default=DEFAULT_INTERFACE, description="The WireGuard interface that is made on every host."
    )
    listen_port: Annotated[int, _Port, Kind("port")] = Field(
        default=DEFAULT_PORT, description="The UDP port that hosts listen on."
    )
    mtu: Annotated[int | None, _Mtu, Kind("bytes", "what fits")] = Field(
        default=None,
        description="The interface's MTU; each host finds what fits the ways to its peers, which is theirs "
        "less 60 bytes (IPv4) or 80 (IPv6): 1440 or 1420 on Ethernet.",
    )
    topology: Annotated[list[Any], BeforeValidator(_list("rules")), Kind("list of rules", "mesh: all")] = (
        Field(
            default=[{"mesh": "all"}],
            description="Which hosts are linked: rules of mesh, hub and spokes, or link.",
        )
    )


class RuleSettings(_Settings):
    """One rule of `fleet.topology`: exactly one of mesh, hub (with spokes) and link."""

    mesh: Annotated[_Patterns, Kind("pattern")] = Field(default=[], description="Everyone with everyone.")
    hub: Annotated[_Patterns, Kind("pattern")] = Field(
        default=[], description="Every one of `spokes` with every one of these, which pass on between spokes."
    )
    spokes: Annotated[_Patterns, Kind("pattern")] = Field(default=[], description="The other end of `hub`.")
    link: Annotated[_Patterns, Kind("two hosts")] = Field(
        default=[], description="One link between two hosts."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> RuleSettings:
        given = self.model_fields_set
        kinds = given & {"mesh", "hub", "link"}
        if len(kinds) > 1 or not given or ("spokes" in given and kinds - {"hub"}):
            raise ValueError("a rule is one of `mesh`, `hub` with `spokes`, and `link`")
        if "spokes" in given and "hub" not in given:
            raise ValueError("spokes without a hub: add `hub: PATTERN` to the rule")
        if "hub" in given and "spokes" not in given:
            raise ValueError("a hub without spokes: add `spokes: PATTERN` to the rule")
        if "link" in given and len(self.link) != 2:
            raise ValueError(f"a link joins two hosts, [ONE, OTHER], not {len(self.link)}")
        return self


class HostSettings(_Settings):
    """The variables of hosts and groups. None where nobody set them."""

    fleet_addresses: Annotated[list[_Address], _Addresses, Kind("list of addresses", "from the pools")] = (
        Field(default=[], description="Addresses in the fleet, instead of those that the pools would give.")
    )
    fleet_subnets: Annotated[list[_Network], _Networks, Kind("list of networks", "none")] = Field(
        default=[], description="Networks behind the host, which the whole fleet reaches through it."
    )
    fleet_endpoint: Annotated[
        str | None, PlainValidator(values.endpoint), Kind("HOST:PORT", "ansible_host and the listen port")
    ] = Field(default=None, description="Where other hosts call this one.")
    fleet_nat: Annotated[bool, _Flag, Kind("true or false")] = Field(
        default=False,
        description="Nobody can call this host, it calls; with fleet_endpoint a port is forwarded to it.",
    )
    fleet_transit: Annotated[bool, _Flag, Kind("true or false")] = Field(
        default=False, description="The host passes on between others; hubs do so anyway."
    )
    fleet_interface: Annotated[str | None, _Interface, Kind("text", "fleet.interface")] = Field(
        default=None, description="The WireGuard interface's name on this host."
    )
    fleet_netns: Annotated[str | None, PlainValidator(values.netns), Kind("text", "the host's own")] = Field(
        default=None,
        description="The network namespace (of `ip netns`) that the interface is in: what runs there, a "
        "container, has the fleet and needs no other network, while WireGuard's own datagrams leave from "
        "outside. fleet_subnets, fleet_transit and fleet_masquerade are then about that namespace.",
    )
    fleet_listen_port: Annotated[int | None, _Port, Kind("port", "fleet.listen_port")] = Field(
        default=None, description="The UDP port that this host listens on."
    )
    fleet_mtu: Annotated[int | None, _Mtu, Kind("bytes", "fleet.mtu")] = Field(
        default=None, description="The interface's MTU on this host."
    )
    fleet_backend: Annotated[Backend, PlainValidator(_backend), Kind("auto, kernel or userspace")] = Field(
        default="auto",
        description="Which WireGuard: the kernel's, fleet's own, or the kernel's where there is one.",
    )
    fleet_masquerade: Annotated[
        list[Annotated[str, PlainValidator(values.way_out)]], _WaysOut, Kind("list of interfaces", "none")
    ] = Field(
        default=[],
        description="Connections that come from the fleet and leave by one of these interfaces carry the "
        "host's own address there, so that networks which know no way back to the fleet answer; the "
        "host passes packets on. Between hosts of the fleet nothing is masqueraded.",
    )
    fleet_clamp_mss: Annotated[
        bool | None, _Flag, Kind("true or false", "true where the host masquerades")
    ] = Field(
        default=None,
        description="TCP connections that pass through the host into or out of the fleet use segments "
        "that fit the tunnel, also where something on the way keeps ICMP from saying so.",
    )
    fleet_egress: Annotated[str | None, PlainValidator(values.text), Kind("a host", "none")] = Field(
        default=None,
        description="Everything that this host has no narrower route for goes through that host, which it is "
        "linked with; with fleet_masquerade there, as that host's own. Whoever calls this host from outside, "
        "over SSH too, is answered the way they came. Needs nftables on the host.",
    )
    fleet_self_heal: Annotated[bool, _Flag, Kind("true or false")] = Field(
        default=False, description="The agent undoes hand-made changes instead of only reporting them."
    )
