"""Who gets which address, and that it stays."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from fleet.errors import FindingsError
from fleet.inventory.model import Host, Inventory
from fleet.state.addresses import Allocator, assign
from fleet.state.memory import HostRecord
from tests.fleet import fleets


def record(name: str, *addresses: str, retired: bool = False) -> HostRecord:
    return HostRecord(name, name, tuple(map(ip_address, addresses)), 1, fleets.key(name), b"", None, retired)


def records(*each: HostRecord) -> dict[str, HostRecord]:
    return {one.name: one for one in each}


def fleet(*hosts: Host, pools: tuple[str, ...] = ("10.77.0.0/24", "fd77::/64")) -> Inventory:
    return fleets.inventory(hosts, [], pools)


def given(inventory: Inventory, known: dict[str, HostRecord] | None = None) -> dict[str, list[str]]:
    return {name: [str(a) for a in found] for name, found in assign(inventory, known or {}).items()}


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("10.77.0.0/29", [f"10.77.0.{n}" for n in range(1, 7)]),
        ("10.77.0.4/30", ["10.77.0.5", "10.77.0.6"]),
        ("10.77.0.4/31", ["10.77.0.4", "10.77.0.5"]),
        ("10.77.0.4/32", ["10.77.0.4"]),
        ("fd77::/126", ["fd77::1", "fd77::2", "fd77::3"]),
        ("fd77::/127", ["fd77::", "fd77::1"]),
        ("fd77::1/128", ["fd77::1"]),
    ],
)
def test_a_pool_gives_all_that_a_host_may_have_lowest_first(pool: str, expected: list[str]) -> None:
    network = ip_network(pool)
    allocator = Allocator([network], [], [])
    found = [allocator.next(network.version) for _ in expected]
    assert [str(address) for address in found] == expected
    assert allocator.next(network.version) is None


def test_a_host_gets_one_of_each_family_that_has_a_pool() -> None:
    assert given(fleet(fleets.host("a"), fleets.host("b"))) == {
        "a": ["10.77.0.1", "fd77::1"],
        "b": ["10.77.0.2", "fd77::2"],
    }
    assert given(fleet(fleets.host("a"), pools=("fd77::/64",))) == {"a": ["fd77::1"]}


def test_a_pool_that_is_used_up_is_followed_by_the_next() -> None:
    hosts = [fleets.host(name) for name in "abc"]
    found = given(fleet(*hosts, pools=("10.77.0.0/30", "10.88.0.0/30")))
    assert found == {"a": ["10.77.0.1"], "b": ["10.77.0.2"], "c": ["10.88.0.1"]}


def test_what_is_set_by_hand_wins_in_its_family_and_is_skipped_by_others() -> None:
    found = given(fleet(fleets.host("a"), fleets.host("b", addresses=["10.77.0.1", "10.77.0.9"])))
    assert found == {"a": ["10.77.0.2", "fd77::1"], "b": ["10.77.0.1", "10.77.0.9", "fd77::2"]}


def test_addresses_in_subnets_are_skipped() -> None:
    found = given(fleet(fleets.host("a", subnets=["10.77.0.0/28"]), fleets.host("b")))
    assert found["a"][0] == "10.77.0.16"
    assert found["b"][0] == "10.77.0.17"


def test_a_known_host_keeps_its_addresses_whatever_else_happens() -> None:
    inventory = fleet(fleets.host("new"), fleets.host("old", nat=True))
    found = given(inventory, records(record("old", "10.77.0.1", "fd77::1")))
    assert found == {"new": ["10.77.0.2", "fd77::2"], "old": ["10.77.0.1", "fd77::1"]}


def test_a_new_pool_adds_an_address_and_keeps_the_other() -> None:
    found = given(fleet(fleets.host("a")), records(record("a", "10.77.0.7")))
    assert found == {"a": ["10.77.0.7", "fd77::1"]}


def test_an_address_that_no_pool_has_any_more_is_replaced() -> None:
    found = given(fleet(fleets.host("a")), records(record("a", "10.99.0.7", "fd77::7")))
    assert found == {"a": ["10.77.0.1", "fd77::7"]}


def test_a_host_that_left_keeps_its_address_reserved_and_gets_it_back() -> None:
    left = records(record("gone", "10.77.0.1", "fd77::1", retired=True))
    assert given(fleet(fleets.host("new")), left) == {
        "gone": ["10.77.0.1", "fd77::1"],
        "new": ["10.77.0.2", "fd77::2"],
    }
    assert given(fleet(fleets.host("gone")), left) == {"gone": ["10.77.0.1", "fd77::1"]}


def test_setting_a_reserved_address_by_hand_takes_it() -> None:
    left = records(record("gone", "10.77.0.1", "fd77::1", retired=True))
    assert given(fleet(fleets.host("new", addresses=["10.77.0.1"])), left) == {
        "gone": ["fd77::1"],
        "new": ["10.77.0.1", "fd77::2"],
    }


def test_removing_an_address_that_was_set_by_hand_keeps_it() -> None:
    assert given(fleet(fleets.host("a")), records(record("a", "10.77.9.9", "fd77::1"))) == {
        "a": ["10.77.0.1", "fd77::1"]
    }
    assert given(fleet(fleets.host("a")), records(record("a", "10.77.0.99", "fd77::1"))) == {
        "a": ["10.77.0.99", "fd77::1"]
    }


def test_hosts_may_swap_addresses_that_are_set_by_hand() -> None:
    inventory = fleet(fleets.host("a", addresses=["10.77.0.2"]), fleets.host("b", addresses=["10.77.0.1"]))
    known = records(record("a", "10.77.0.1", "fd77::1"), record("b", "10.77.0.2", "fd77::2"))
    assert given(inventory, known) == {"a": ["10.77.0.2", "fd77::1"], "b": ["10.77.0.1", "fd77::2"]}


def test_setting_the_address_of_another_host_by_hand_is_refused_with_both_names() -> None:
    inventory = fleet(fleets.host("a"), fleets.host("b", addresses=["10.77.0.1"], line=5))
    with pytest.raises(FindingsError) as raised:
        assign(inventory, records(record("a", "10.77.0.1", "fd77::1")))
    text = str(raised.value)
    assert text.startswith(
        "/fleets/inventory.yml:2005:1: fleet_addresses: 10.77.0.1 of b is the address that a has"
    )
    assert "choose another" in text


def test_one_address_set_for_two_hosts_is_refused() -> None:
    inventory = fleet(fleets.host("a", addresses=["10.77.0.1"]), fleets.host("b", addresses=["10.77.0.1"]))
    with pytest.raises(FindingsError, match=r"10\.77\.0\.1 of b is the address that a has"):
        assign(inventory, {})


def test_pools_that_are_used_up_are_named() -> None:
    inventory = fleet(*[fleets.host(name) for name in "abc"], pools=("10.77.0.0/30",))
    with pytest.raises(FindingsError, match=r"no address is left for c in 10\.77\.0\.0/30"):
        assign(inventory, {})


def test_a_host_without_any_address_is_named() -> None:
    with pytest.raises(FindingsError, match="a has no address"):
        assign(fleet(fleets.host("a"), pools=()), {})
