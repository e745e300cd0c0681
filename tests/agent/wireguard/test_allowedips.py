"""AllowedIPs against vectors, and against looking at every prefix."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wireguard.allowedips import _MOST_REMEMBERED, AllowedIPs, Network
from tests.agent.wireguard.vectors import load


def _lookup(table: AllowedIPs[str], address: str) -> Optional[str]:
    parsed = ip_address(address)
    return (table.lookup4 if parsed.version == 4 else table.lookup6)(parsed.packed)


def test_vectors() -> None:
    table: AllowedIPs[str] = AllowedIPs()
    checks = 0
    for operation, *arguments in load("allowedips")["steps"]:
        if operation == "insert":
            table.insert(ip_network(arguments[1], strict=False), arguments[0])
        elif operation == "expect":
            assert _lookup(table, arguments[1]) == arguments[0]
            checks += 1
        elif operation == "expect_not":
            assert _lookup(table, arguments[1]) != arguments[0]
            checks += 1
        elif operation == "remove_peer":
            table.clear(arguments[0])
        elif operation == "expect_dump_of_last_peer":
            assert [str(network) for network in table.of(arguments[0])] == arguments[1]
            checks += 1
        else:
            assert operation == "clear"
            table = AllowedIPs()
    assert checks > 30


# Few distinct addresses and lengths, so that prefixes nest and collide.
addresses4 = st.sampled_from([0, 1, 0x0A000000, 0x0A000001, 0x0A800000, 0xC0A80101, 0xFFFFFFFF])
addresses6 = st.sampled_from([0, 1, 0xFD << 120, (0xFD << 120) + 1, (1 << 128) - 1])
networks: st.SearchStrategy[Network] = st.one_of(
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), addresses4, st.integers(0, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), addresses6, st.integers(0, 128)),
)
operations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "insert", "remove", "clear"]), networks, st.sampled_from("abc")
    )
)


PROBES4 = ["10.0.0.1", "10.128.0.0", "192.168.1.1", "0.0.0.0", "255.255.255.255"]
PROBES6 = ["fd00::1", "::", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]


@given(operations)
def test_as_looking_at_every_prefix(steps: list[tuple[str, Network, str]]) -> None:
    """Whatever was looked up before."""
    table: AllowedIPs[str] = AllowedIPs()
    model: dict[Network, str] = {}
    for operation, network, owner in steps:
        if operation == "insert":
            table.insert(network, owner)
            if model.get(network) != owner:
                model.pop(network, None)
                model[network] = owner
        elif operation == "remove":
            table.remove(network, owner)
            if model.get(network) == owner:
                del model[network]
        else:
            table.clear(owner)
            model = {key: value for key, value in model.items() if value != owner}
        _compare(table, model)


def _compare(table: AllowedIPs[str], model: dict[Network, str]) -> None:
    for owner in "abc":
        assert table.of(owner) == [network for network in model if model[network] == owner]
    for probe in map(ip_address, PROBES4 + PROBES6):
        covering = [network for network in model if network.version == probe.version and probe in network]
        longest = max(covering, key=lambda network: network.prefixlen, default=None)
        assert _lookup(table, str(probe)) == (model[longest] if longest is not None else None)


@pytest.mark.parametrize("probe", [PROBES4[0], PROBES6[0]])
def test_no_lookup_outlives_a_change(probe: str) -> None:
    table: AllowedIPs[str] = AllowedIPs()
    whole, one = ip_network(f"{probe}/0", strict=False), ip_network(probe)
    assert _lookup(table, probe) is None
    table.insert(whole, "a")
    assert _lookup(table, probe) == "a"
    table.insert(one, "b")
    assert _lookup(table, probe) == "b"
    table.insert(one, "c")
    assert _lookup(table, probe) == "c"
    table.clear("c")
    assert _lookup(table, probe) == "a"
    table.remove(whole, "a")
    assert _lookup(table, probe) is None


def test_not_all_lookups_are_remembered() -> None:
    table: AllowedIPs[str] = AllowedIPs()
    table.insert(ip_network("10.0.0.0/8"), "a")
    for number in range(3 * _MOST_REMEMBERED):
        address = number.to_bytes(3, "big")
        assert table.lookup4(b"\x0a" + address) == "a"
        assert table.lookup4(b"\x0b" + address) is None
        assert len(table._families[4].answers) <= _MOST_REMEMBERED


def test_only_its_owner_loses_exactly_that_prefix() -> None:
    table: AllowedIPs[str] = AllowedIPs()
    wide, narrow = ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")
    table.insert(wide, "a")
    table.insert(narrow, "b")
    table.remove(narrow, "a")
    table.remove(ip_network("10.1.0.0/17"), "b")
    assert _lookup(table, "10.1.0.1") == "b"
    table.remove(narrow, "b")
    assert _lookup(table, "10.1.0.1") == "a"
    assert (table.of("a"), table.of("b")) == ([wide], [])
