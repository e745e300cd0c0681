"""Inventories and identities for tests, built without YAML.

Called by the tests of topology, keys and state.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

from fleet.errors import Location
from fleet.inventory.model import Connection, Host, HubRule, Inventory, LinkRule, MeshRule, Rule

FILE = Path("/fleets/inventory.yml")
POOLS = ("10.77.0.0/16", "fd77:ac3e::/48")


def at(line: int) -> Location:
    return Location(FILE, line, 1)


def host(
    name: str,
    *,
    nat: bool = False,
    endpoint: str | None = None,
    transit: bool = False,
    subnets: Iterable[str] = (),
    addresses: Iterable[str] = (),
    mtu: int = 1420,
    backend: Literal["auto", "kernel", "userspace"] = "auto",
    masquerade: Iterable[str] = (),
    clamp_mss: bool | None = None,
    egress: str | None = None,
    netns: str | None = None,
    line: int = 1,
) -> Host:
    return Host(
        name=name,
        groups=(),
        connection=Connection("ssh", f"{name}.example.net"),
        addresses=tuple(map(ip_address, addresses)),
        subnets=tuple(map(ip_network, subnets)),
        endpoint=endpoint or (None if nat else f"{name}.example.net:51820"),
        nat=nat,
        transit=transit,
        interface="wg0",
        listen_port=51820,
        mtu=mtu,
        backend=backend,
        self_heal=False,
        where=at(line),
        places={"fleet_nat": at(line + 1000), "fleet_addresses": at(line + 2000)},
        masquerade=tuple(masquerade),
        clamp_mss=clamp_mss,
        egress=egress,
        netns=netns,
    )


def mesh(*hosts: str, line: int = 1) -> MeshRule:
    return MeshRule(hosts, at(line))


def hub(hubs: Iterable[str], spokes: Iterable[str], line: int = 1) -> HubRule:
    return HubRule(tuple(hubs), tuple(spokes), at(line))


def link(one: str, other: str, line: int = 1) -> LinkRule:
    return LinkRule((one, other), at(line))


def inventory(
    hosts: Iterable[Host], rules: Iterable[Rule], pools: Iterable[str] = POOLS, name: str = "acme"
) -> Inventory:
    return Inventory(
        file=FILE,
        name=name,
        pools=tuple(map(ip_network, pools)),
        rules=tuple(rules),
        hosts={host.name: host for host in hosts},
        where=at(1),
    )


def example() -> Inventory:
    """The fleet of the documentation: a core in a mesh, a branch, and one host with a link of its own."""
    return inventory(
        [
            host("fra1", endpoint="203.0.113.10:51820", subnets=["10.1.0.0/16"]),
            host("sgp1", endpoint="sgp1.example.net:51821"),
            host("oslo", nat=True, subnets=["192.168.20.0/24"]),
            host("lab7", endpoint="203.0.113.77:51820", addresses=["10.77.9.9"]),
        ],
        [mesh("fra1", "sgp1"), hub(["fra1", "sgp1"], ["oslo"]), link("fra1", "lab7")],
    )


class Randomness:
    """Bytes that look random, the same in every run; `drawn` counts how often some were taken."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_256(f"{self._seed} {self.drawn}".encode()).digest(size)


def key(name: str) -> str:
    """A public key for `name`."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
