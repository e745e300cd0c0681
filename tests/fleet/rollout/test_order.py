"""Nobody takes the way to another host with it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from fleet.errors import Location
from fleet.inventory.model import Connection, Host, Inventory
from fleet.rollout.order import led_through, waves
from tests.fleet.rollout.made import host

ADDRESSES = {"fra1": [ip_address("10.77.0.1")], "oslo": [ip_address("10.99.0.5")]}


def made(name: str, address: str, *subnets: str, **values: object) -> Host:
    known = replace(
        host(name), connection=Connection("ssh", address), subnets=tuple(map(ip_network, subnets))
    )
    return replace(known, **values)  # type: ignore[arg-type]


def fleet(*hosts: Host) -> Inventory:
    named = {one.name: one for one in hosts}
    pools = (ip_network("10.77.0.0/16"),)
    return Inventory(Path("i.yml"), "acme", pools, (), named, Location(Path("i.yml"), 1, 1))


def order(*hosts: Host) -> list[list[str]]:
    through = led_through(fleet(*hosts), ADDRESSES)
    return [[one.name for one in wave] for wave in waves(hosts, through)]


def test_whose_way_leads_through_the_fleet() -> None:
    hosts = (
        made("pool", "10.77.3.3"),
        made("taken", "10.99.0.5"),
        made("behind", "192.168.20.9"),
        made("gate", "198.51.100.1", "192.168.20.0/24"),
        made("named", "fra1.example"),
        replace(made("here", "10.77.0.9"), connection=Connection("local", "10.77.0.9")),
    )
    assert led_through(fleet(*hosts), ADDRESSES) == {"pool", "taken", "behind"}


def test_who_carries_goes_after_who_is_carried() -> None:
    assert order(
        replace(made("here", ""), connection=Connection("local", "")),
        made("hub", "198.51.100.1", endpoint="198.51.100.1:51820", transit=True),
        made("caller", "198.51.100.2"),
        made("gate", "10.77.0.2", "192.168.20.0/24"),
        made("behind", "192.168.20.9"),
        made("transit", "10.77.0.3", transit=True),
    ) == [["behind"], ["gate", "transit"], ["caller"], ["hub"], ["here"]]


def test_hosts_alike_go_together() -> None:
    assert order(made("one", "198.51.100.1"), made("two", "198.51.100.2")) == [["one", "two"]]
    assert order() == []
