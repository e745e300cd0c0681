"""An inventory becomes nodes and wires, or every reason why it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.codec import decode, encode
from fleet.errors import FindingsError, FleetError, Location
from fleet.inventory.model import Connection, Host, Inventory
from fleet.lab.layout import INTERNET, MACHINE, Layout, User, lay_out
from fleet.lab.ranges import Taken

FILE = Path("inventory.yml")


def host(name: str, address: str, line: int = 1, **values: Any) -> Host:
    connection = {key: values.pop(key) for key in ("port", "user", "become", "kind") if key in values}
    subnets = tuple(ip_network(text) for text in values.pop("subnets", ()))
    place = Location(FILE, line, 1)
    standard = Host(
        name=name,
        groups=("all",),
        connection=replace(Connection("ssh", address), **connection),
        addresses=(),
        subnets=subnets,
        endpoint=None if values.get("nat") else f"[{address}]:51820",
        nat=False,
        transit=False,
        interface="wg0",
        listen_port=51820,
        mtu=1420,
        backend="auto",
        self_heal=False,
        where=place,
    )
    return replace(standard, **values)


def inventory(*hosts: Host, pools: tuple[str, ...] = ("10.77.0.0/16",)) -> Inventory:
    networks = tuple(ip_network(text) for text in pools)
    return Inventory(FILE, "t", networks, (), {h.name: h for h in hosts}, Location(FILE, 1, 1))


def layout(*hosts: Host, pools: tuple[str, ...] = ("10.77.0.0/16",)) -> Layout:
    return lay_out(inventory(*hosts, pools=pools), "0badcafe", [], "root")


def reasons(*hosts: Host, taken: tuple[Taken, ...] = ()) -> list[str]:
    with pytest.raises(FindingsError) as caught:
        lay_out(inventory(*hosts), "0badcafe", taken, "root")
    return str(caught.value).splitlines()


def test_a_plain_host_stands_on_the_internet() -> None:
    found = layout(host("a", "203.0.113.10"))
    assert [node.name for node in found.nodes] == [INTERNET, "a"]
    wire = next(wire for wire in found.wires if wire.far.node == "a")
    assert wire.near.node == INTERNET
    assert wire.near.routes == ("203.0.113.10/32",)
    assert (wire.far.interface, wire.far.addresses) == ("eth0", ("203.0.113.10/32",))
    assert wire.far.routes == ("0.0.0.0/0 via 169.254.0.1 onlink",)


def test_this_machine_has_a_route_to_every_underlay_address_and_no_other() -> None:
    found = layout(
        host("a", "203.0.113.10"),
        host("b", "2001:db8::b"),
        host("n", "203.0.113.20", nat=True, subnets=["10.1.0.0/16"]),
    )
    (uplink,) = (wire for wire in found.wires if wire.near.node == MACHINE)
    assert uplink.near.interface == found.interface == "fl-0badcafe"
    destinations = [route.split()[0] for route in uplink.near.routes]
    assert destinations == ["203.0.113.10/32", "2001:db8::b/128", "203.0.113.20/32"]
    assert all(
        ip_interface(a).network.prefixlen == ip_interface(a).max_prefixlen for a in uplink.near.addresses
    )


def test_a_host_behind_nat_has_a_router_that_holds_its_address() -> None:
    found = layout(host("n", "203.0.113.20", nat=True, port=2200))
    router = next(node for node in found.nodes if node.kind == "router")
    wan, lan = (wire for wire in found.wires if "n/router" in (wire.near.node, wire.far.node))
    assert (router.name, router.forwards, wan.far.addresses) == ("n/router", True, ("203.0.113.20/32",))
    assert lan.far.addresses == ("192.168.1.2/24",)
    assert 'iifname "wan" tcp dport 2200 dnat ip to 192.168.1.2:2200' in router.rules
    assert "udp dport" not in router.rules
    assert "masquerade" in router.rules


def test_an_endpoint_behind_nat_is_forwarded_to_the_listen_port() -> None:
    found = layout(host("n", "2001:db8::9", nat=True, endpoint="[2001:db8::9]:40000", listen_port=51999))
    rules = next(node.rules for node in found.nodes if node.kind == "router")
    assert "udp dport 40000 dnat ip6 to [fd00:c0de:1::2]:51999" in rules


def test_an_endpoint_that_is_a_name_leads_to_the_host() -> None:
    found = layout(host("a", "203.0.113.10", endpoint="a.example.net:51820"), host("b", "203.0.113.11"))
    assert {n.name: n.names for n in found.nodes if n.kind == "host"} == {
        "a": ("203.0.113.10 a.example.net",),
        "b": ("203.0.113.10 a.example.net",),
    }


def test_clients_are_counted_and_an_exit_has_none() -> None:
    found = layout(
        host("a", "203.0.113.10", subnets=["0.0.0.0/0", "192.168.20.0/24", "fd77::/64", "10.9.9.9/32"])
    )
    assert [node.name for node in found.clients("a")] == ["a/client", "a/client2", "a/client3"]
    assert [found.address(name) for name in ("a/client", "a/client2", "a/client3")] == [
        "192.168.20.2",
        "fd77::2",
        "10.9.9.9",
    ]


@given(
    st.one_of(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(
            lambda v: ip_network((v[0], v[1]), strict=False)
        ),
        st.tuples(st.integers(0, 2**128 - 1), st.integers(1, 128)).map(
            lambda v: ip_network((v[0].to_bytes(16, "big"), v[1]), strict=False)
        ),
    )
)
def test_a_client_stands_in_its_subnet_whatever_its_size(subnet: Any) -> None:
    found = layout(host("a", "203.0.113.10", subnets=[str(subnet)]))
    wire = next(wire for wire in found.wires if wire.far.node == "a/client")
    client = ip_interface(wire.far.addresses[0])
    assert client.ip in subnet
    assert client.network == subnet
    gateway = ip_address(wire.far.routes[0].split()[2])
    if subnet.num_addresses > 1:
        assert ip_interface(wire.near.addresses[0]).ip == gateway
        assert gateway in subnet
        assert gateway != client.ip
    else:
        assert str(gateway) in wire.near.addresses[0]


def test_accounts_are_those_of_the_inventory() -> None:
    found = lay_out(
        inventory(host("a", "203.0.113.10", user="ops", become=True), host("b", "203.0.113.11")),
        "0badcafe",
        [],
        "jo",
    )
    users = {node.name: node.users for node in found.nodes if node.kind == "host"}
    assert users["a"] == (User("ops", True), User("root", True))
    assert users["b"] == (User("jo", False), User("root", False))


def test_the_network_behind_routers_keeps_off_what_the_fleet_uses() -> None:
    nat = host("n", "203.0.113.20", nat=True)
    lan = next(w for w in layout(nat, pools=("192.168.0.0/16",)).wires if w.far.node == "n")
    assert lan.far.addresses == ("172.31.255.2/24",)
    everything = ("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "100.64.0.0/10")
    with pytest.raises(FleetError, match="leave one of them free"):
        layout(nat, pools=everything)


def test_every_reason_is_found_in_one_go_with_its_place() -> None:
    taken = (Taken(ip_network("192.0.2.0/24"), "route 192.0.2.0/24 dev eth0"),)
    found = reasons(
        host("a", "8.8.8.8", line=1),
        host("b", "b.example.net", line=2, endpoint="203.0.113.2:1"),
        host("c", "192.0.2.9", line=3),
        host("d", "203.0.113.7", line=4),
        host("e", "203.0.113.7", line=5),
        host("f", "203.0.113.8", line=6, endpoint="9.9.9.9:51820"),
        host("g", "127.0.0.1", line=7, kind="local", endpoint=None),
        host("h", "203.0.113.9", line=8, user="no such user"),
        host("i/j", "203.0.113.11", line=9),
        taken=taken,
    )
    assert [line.split(": ")[0] for line in found] == [f"{FILE}:{n}:1" for n in (1, 2, 3, 5, 6, 7, 7, 8, 9)]
    text = "\n".join(found)
    for part in (
        "a: 8.8.8.8 may belong to somebody",
        "b: ansible_host b.example.net is a name",
        "c: 192.0.2.9 is in use on this machine (route 192.0.2.0/24 dev eth0)",
        "e: 203.0.113.7 is the address of d too",
        "f: 9.9.9.9 may belong to somebody",
        "g: is this machine itself",
        "h: 'no such user' cannot be an account",
        "i/j: 'i/j' cannot be the name of a lab host",
    ):
        assert part in text


def test_names_fit_where_they_are_used_and_the_record_holds_everything() -> None:
    long = "x" * 70
    found = layout(host(long, "203.0.113.10"), host("n", "203.0.113.20", nat=True, subnets=["10.1.0.0/16"]))
    assert all(len(node.hostname) <= 63 for node in found.nodes)
    assert all(len(end.interface) <= 15 for wire in found.wires for end in (wire.near, wire.far))
    assert decode(Layout, json.loads(json.dumps(encode(found)))) == found
