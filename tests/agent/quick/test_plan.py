"""Plans without wg-quick beside them: whole ones as people read them, and what is not as wg-quick does it."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given

from agent.operations import AddInterface
from agent.quick import guard
from agent.quick.conf import parse, split
from agent.quick.plan import (
    DownFacts,
    PlanError,
    Rules,
    UpFacts,
    Way,
    abandon,
    connect,
    make,
    part,
    prefixes,
    remove,
)
from agent.quick.steps import (
    AddAddress,
    Command,
    Configure,
    IgnoreMark,
    RemoveMainRule,
    SetDns,
    Step,
    ValidateMark,
    command,
)
from tests.agent.quick import corpus, files

FULL = parse(corpus.PHONE, "wg0.conf")
SERVER = parse(corpus.SERVER, "wg0.conf")


def lines(steps: tuple[Step, ...]) -> list[str]:
    return [command(step).line for step in steps]


def test_a_server() -> None:
    stripped = split(corpus.SERVER, "wg0.conf").stripped
    assert lines(make(SERVER, stripped)) == [
        "ip link add wg0 type wireguard",
        "wg setconf wg0 /dev/stdin",
        "ip -4 address add 10.8.0.1/24 dev wg0",
        "ip -6 address add fd0d:86fa:c3bc::1/64 dev wg0",
        "ip -4 address add 192.168.77.1 dev wg0",
    ]
    assert lines(connect(SERVER, UpFacts((Way(None, 1500), Way(1400, 9000))))) == [
        "ip link set mtu 1420 up dev wg0",
        "ip -4 route add 192.168.21.0/24 dev wg0",
        "ip -4 route add 192.168.20.0/24 dev wg0",
        "hook forward wg0 on; hook masquerade eth0",
    ]
    assert part(SERVER) == ()
    assert lines(remove(SERVER, DownFacts())) == [
        "ip link delete dev wg0",
        "hook forward wg0 off",
        "hook masquerade off",
    ]


def test_a_full_tunnel() -> None:
    up = connect(FULL, UpFacts(tables=frozenset({51820})))
    assert lines(up) == [
        "ip link set mtu 1420 up dev wg0",
        "resolvconf -a wg0 -m 0 -x",
        "wg set wg0 fwmark 51821",
        "ip -6 route add ::/0 dev wg0 table 51821",
        "ip -6 rule add not fwmark 51821 table 51821",
        "ip -6 rule add table main suppress_prefixlength 0",
        "nft -f /dev/stdin",
        "ip -4 route add 0.0.0.0/0 dev wg0 table 51821",
        "ip -4 rule add not fwmark 51821 table 51821",
        "ip -4 rule add table main suppress_prefixlength 0",
        "sysctl -q net.ipv4.conf.all.src_valid_mark=1",
        "nft -f /dev/stdin",
    ]
    assert command(up[1]).reads == "nameserver 94.140.14.14\nnameserver 94.140.15.15\n"
    found = DownFacts(
        51821,
        ("0.0.0.0/0", "::/0"),
        Rules(1, 1),
        Rules(1, 1),
        ("inet filter", "ip wg-quick-wg0", "ip6 wg-quick-wg0"),
    )
    assert lines(remove(FULL, found)) == [
        "ip -4 rule delete table 51821",
        "ip -4 rule delete table main suppress_prefixlength 0",
        "ip -6 rule delete table 51821",
        "ip -6 rule delete table main suppress_prefixlength 0",
        "ip link delete dev wg0",
        "resolvconf -d wg0 -f",
        "nft -f /dev/stdin",
    ]


def test_the_rule_for_the_main_table_of_another_tunnel_stays() -> None:
    down = remove(FULL, DownFacts(51820, ("0.0.0.0/0",), Rules(tunnel=1, main=2), Rules(tunnel=0, main=1)))
    assert [step for step in down if isinstance(step, RemoveMainRule)] == [RemoveMainRule(4)]


def test_a_mark_that_is_a_table_of_the_kernel_is_refused_where_it_would_become_one() -> None:
    for mark in (253, 254, 255):
        device = replace(FULL.device, fwmark=mark)
        with pytest.raises(PlanError, match=f"wg0: FwMark {mark} is one of the kernel's"):
            make(replace(FULL, device=device), "")
        make(replace(FULL, device=device, table="7"), "")
        make(replace(SERVER, device=replace(SERVER.device, fwmark=mark)), "")


def test_dns_needs_its_program() -> None:
    with pytest.raises(PlanError, match="wg0: DNS needs the program resolvconf"):
        connect(FULL, UpFacts(resolvconf=False))
    connect(replace(FULL, dns_servers=()), UpFacts(resolvconf=False))


@pytest.mark.parametrize(
    ("order", "record"),
    [
        ("", "wg0"),
        ("# names\nlo.inet*\nlo\ntun*\neth*\n", "tun.wg0"),
        ("  tun-1*", "tun-1.wg0"),
        ("tun_1*\nx.*\n", "wg0"),
    ],
)
def test_the_name_that_resolvconf_knows(order: str, record: str) -> None:
    """As wg-quick was seen to call it where /etc/resolvconf/interface-order has these lines."""
    steps = connect(FULL, UpFacts(resolvconf_order=order))
    assert [step.record for step in steps if isinstance(step, SetDns)] == [record]
    down = lines(remove(FULL, DownFacts(resolvconf_order=order)))
    assert f"resolvconf -d {record} -f" in down


def test_what_was_not_made_is_not_removed() -> None:
    conf = parse(corpus.SAVED, "wg0.conf")
    steps = make(conf, "")
    assert abandon(conf, steps[:1], DownFacts()) == ()
    assert lines(abandon(conf, steps[:2], DownFacts())) == ["ip link delete dev wg0"]


def test_rules_of_another_interface_stay() -> None:
    """The interface's name is no pattern: wg. is not wg1."""
    saved = "".join(
        f'-A INPUT -m comment --comment "wg-quick(8) rule for {name}" -j DROP\n'
        for name in ("wg1", "wg.1", "wg.")
    )
    text = guard.without_rules("wg.", f"*filter\n{saved}COMMIT\n")
    assert text == '*filter\n-D INPUT -m comment --comment "wg-quick(8) rule for wg." -j DROP\nCOMMIT\n'
    assert guard.without_rules("wg", f"*filter\n{saved}COMMIT\n") == ""


def test_no_command_and_no_picture_shows_a_key() -> None:
    parts = split(corpus.PHONE, "wg0.conf")
    steps = (*make(FULL, parts.stripped), *connect(FULL, UpFacts()))
    for key in (corpus.KEY, corpus.PSK):
        assert not any(key in command(step).line or key in repr(step) for step in steps)
    (configure,) = (step for step in steps if isinstance(step, Configure))
    assert command(configure) == Command("wg setconf wg0 /dev/stdin", f"{parts.stripped}\n")


def test_addresses_have_a_length_for_who_needs_one() -> None:
    said = ("10.0.0.1", "10.0.0.1/8", "fd00::1", "fd00::1/64")
    assert [AddAddress("wg0", address).prefix for address in said] == [
        "10.0.0.1/32",
        "10.0.0.1/8",
        "fd00::1/128",
        "fd00::1/64",
    ]


@given(files.confs())
def test_every_prefix_has_a_route_or_is_beside_its_own_address(text: str) -> None:
    conf = parse(text, "wg0.conf")
    routed = [line.split()[4] for line in lines(connect(conf, UpFacts())) if " route add " in line]
    if conf.table != "auto":
        assert routed == ([] if conf.table == "off" else list(prefixes(conf)))
        return
    own = [ipaddress.ip_interface(address).network for address in conf.addresses]
    for prefix in set(prefixes(conf)) - set(routed):
        network = ipaddress.ip_network(prefix)
        assert any(
            network.version == wide.version
            and network.network_address in wide
            and network.prefixlen >= wide.prefixlen
            for wide in own
        )
    assert routed == sorted(routed, key=prefixes(conf).index)


@pytest.mark.lab
@pytest.mark.parametrize(
    "program", ["nft -c -f -", "iptables-restore --test -n", "ip6tables-restore --test -n"]
)
def test_the_rules_are_such_as_programs_take(program: str) -> None:
    for family, addresses in ((4, ("10.0.0.1", "10.0.0.2")), (6, ("fd00::1",)), (4, ()), (6, ())):
        if program.startswith("nft"):
            text = guard.nft("wg0", 4 if family == 4 else 6, addresses, 51820)
        elif program.startswith(guard.restore(4 if family == 4 else 6)):
            text = guard.iptables("wg0", addresses, 51820)
        else:
            continue
        subprocess.run(["unshare", "-n", *program.split()], input=text, text=True, check=True)


@pytest.mark.lab
@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1/24",
        "10.0.0.1",
        "10.0.0.1/31",
        "0.2.0.1/8",
        "0.2.0.1/7",
        "fd00::1/64",
        "fd00::1",
        "10.0.0.1/1",
    ],
)
def test_networks_that_the_kernel_routes_by_itself_get_no_route(address: str) -> None:
    """A TUN device stands for WireGuard's: both are point to point, without link addresses."""
    family = "-6" if ":" in address else "-4"
    asked = [str(ipaddress.ip_interface(address).network)]
    asked.append("fd00::7/128" if family == "-6" else "10.0.0.1/32")
    script = f"ip tuntap add mode tun name t0; ip {family} address add {address} dev t0; ip link set t0 up; "
    script += "; ".join(f'echo "[$(ip {family} route show dev t0 match {prefix})]"' for prefix in asked)
    ran = subprocess.run(
        ["unshare", "-n", "sh", "-e", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    has = [line != "[]" for line in ran.stdout.splitlines()]
    peer = f"[Peer]\nPublicKey = {corpus.KEY}\nAllowedIPs = {', '.join(asked)}\n"
    text = f"[Interface]\nAddress = {address}\n{peer}"
    routed = [
        line.split()[4] for line in lines(connect(parse(text, "wg0.conf"), UpFacts())) if " route " in line
    ]
    assert [prefix not in routed for prefix in asked] == has


def test_src_valid_mark_goes_back_with_the_last_tunnel_that_needs_it() -> None:
    facts = DownFacts(51820, ("0.0.0.0/0",), Rules(1, 1), Rules(), validated=True, tunnels4=1)
    done = (ValidateMark(), AddInterface("wg0", "auto"))
    assert remove(FULL, facts).count(IgnoreMark()) == 1
    assert abandon(FULL, done, facts)[-1] == IgnoreMark()
    for other in (replace(facts, tunnels4=2), replace(facts, validated=False)):
        assert IgnoreMark() not in (*remove(FULL, other), *abandon(FULL, done, other))
    assert lines((ValidateMark(), IgnoreMark())) == [
        "sysctl -q net.ipv4.conf.all.src_valid_mark=1",
        "sysctl -q net.ipv4.conf.all.src_valid_mark=0",
    ]
