"""The typed inventory: what the rest of the controller knows of the YAML.

Job: the resolved values of a fleet and its hosts. Refuses to know YAML, precedence and patterns: by
the time these exist, names are resolved and values checked. Called by topology, keys, lab, transport
and rollout; made by `fleet.inventory.read` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Literal

from fleet.errors import Location

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Connection:
    """How the controller gets to a host: Ansible's connection variables, resolved.

    `options` are OpenSSH options (`ProxyJump`, `UserKnownHostsFile` ...) from ansible_ssh_common_args
    and ansible_ssh_extra_args, keys in lower case; None is left to ~/.ssh/config.
    """

    kind: Literal["ssh", "local"]
    host: str
    port: int | None = None
    user: str | None = None
    private_key_file: Path | None = None
    become: bool = False
    become_user: str = "root"
    become_password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Host:
    """One host of the fleet.

    `addresses` are those set by hand (the others come from the pools); `endpoint` is `host:port` where
    the host can be called, None where it cannot; `places` says where each variable that counts was
    set (`fleet_subnets`, and `fleet_subnets[0]` for its items). `masquerade` names interfaces; `clamp_mss`
    None: where the host masquerades. `egress` is the host that everything without a narrower route goes to.
    None: where the host masquerades. `netns` names the network namespace of the interface, None for the
    host's own.
    """

    name: str
    groups: tuple[str, ...]
    connection: Connection
    addresses: tuple[Address, ...]
    subnets: tuple[Network, ...]
    endpoint: str | None
    nat: bool
    transit: bool
    interface: str
    listen_port: int
    mtu: int | None
    backend: Literal["auto", "kernel", "userspace"]
    self_heal: bool
    where: Location
    places: dict[str, Location] = field(default_factory=dict, compare=False, repr=False)
    masquerade: tuple[str, ...] = ()
    clamp_mss: bool | None = None
    egress: str | None = None
    netns: str | None = None

    def place(self, variable: str) -> Location:
        """Where `variable` got its value; the host itself where nobody set it."""
        return self.places.get(variable, self.where)


@dataclass(frozen=True)
class MeshRule:
    """Everyone with everyone."""

    hosts: tuple[str, ...]
    where: Location


@dataclass(frozen=True)
class HubRule:
    """Every spoke with every hub; hubs are transit. Says nothing about hubs among themselves."""

    hubs: tuple[str, ...]
    spokes: tuple[str, ...]
    where: Location


@dataclass(frozen=True)
class LinkRule:
    """One link between two hosts."""

    hosts: tuple[str, str]
    where: Location


Rule = MeshRule | HubRule | LinkRule


@dataclass(frozen=True)
class Inventory:
    """A whole fleet; `hosts` in the inventory's order, `rules` in the topology's, patterns resolved.

    `groups` has the hosts of every group, those of groups below included, in Ansible's order, which
    the indexes of patterns count by. `places` says where each key of `fleet` was set (`pools`, and
    `pools[0]` for its items).
    """

    file: Path
    name: str
    pools: tuple[Network, ...]
    rules: tuple[Rule, ...]
    hosts: dict[str, Host]
    where: Location
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    places: dict[str, Location] = field(default_factory=dict, compare=False, repr=False)
