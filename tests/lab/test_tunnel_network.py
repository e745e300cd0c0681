"""Our tunnel in networks as they are: NAT, policy routing, odd MTUs, addresses that go away."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.namespaces import Namespace, third, wait_until, wired_pair
from tests.lab.tunnels import PORT, Tunnel, introduce, ping, received, start, wait_for_pings, wg

pytestmark = pytest.mark.lab

Pair = tuple[Tunnel, Tunnel]
WIDEST = 65535 - 80
"""The largest MTU whose packets fit into UDP over IPv6."""


@pytest.fixture
def spaces() -> Iterator[tuple[Namespace, Namespace]]:
    with wired_pair() as pair:
        yield pair


@pytest.fixture
def pair(spaces: tuple[Namespace, Namespace]) -> Pair:
    """Two of ours, who have spoken."""
    here, there = start(spaces[0], "ours"), start(spaces[1], "ours")
    introduce(here, there)
    assert ping(here, there.inner4) == 3
    return here, there


# Sizes


@pytest.mark.parametrize("version", [4, 6], ids=["outer4", "outer6"])
def test_packets_of_every_size_up_to_the_widest_mtu(
    spaces: tuple[Namespace, Namespace], version: int
) -> None:
    here, there = start(spaces[0], "ours"), start(spaces[1], "ours")
    introduce(here, there, version=version)
    wait_for_pings(here, there.inner4)
    for mtu in (1420, 9000, WIDEST):
        for tunnel in (here, there):
            tunnel.ip("link", "set", tunnel.interface, "mtu", str(mtu))
        for payload in (0, 1, 15, 16, mtu - 28 - 15, mtu - 28 - 1, mtu - 28):
            assert ping(here, there.inner4, 2, "-M", "do", "-s", str(payload)) == 2, (mtu, payload)
        assert ping(here, there.inner6, 2, "-M", "do", "-s", str(mtu - 48)) == 2


def test_a_stream_over_the_widest_mtu(pair: Pair) -> None:
    here, there = pair
    for tunnel in pair:
        tunnel.ip("link", "set", tunnel.interface, "mtu", str(WIDEST))
    assert _stream(here, there) > 1 << 20


def _stream(here: Tunnel, there: Tunnel) -> int:
    """Bytes that TCP carries in a second."""
    there.space.start("iperf3", "--server", "--one-off", "--bind", there.inner4)
    wait_until(lambda: ":5201 " in there.space.output("ss", "-lntH"), "iperf3 listens")
    done = here.space.run("iperf3", "--json", "--time", "1", "--client", there.inner4)
    return int(json.loads(done.stdout)["end"]["sum_received"]["bytes"])


# Ways


def test_a_tunnel_in_a_tunnel(pair: Pair) -> None:
    outer = pair
    here, there = (start(tunnel.space, "ours") for tunnel in outer)
    for inner, other, way in ((here, there, outer[1]), (there, here, outer[0])):
        inner.set("listen-port", "5")
        inner.set(
            *("peer", other.public_key, "endpoint", f"[{way.inner6}]:5"),
            *("allowed-ips", "10.67.0.0/24,fd67::/64"),
        )
        inner.ip("link", "set", inner.interface, "mtu", "1340", "up")
        inner.ip("address", "add", f"10.67.0.{inner.number}/24", "dev", inner.interface)
    wait_for_pings(here, f"10.67.0.{there.number}")
    assert ping(here, f"10.67.0.{there.number}", 3, "-M", "do", "-s", "1312") == 3
    assert outer[0].transfer().sent > 3 * 1340


def test_a_peer_behind_another_of_the_same_device(pair: Pair) -> None:
    here, there = pair
    behind = start(there.space, "ours")
    behind.set("listen-port", "5", "peer", here.public_key, "allowed-ips", "10.67.0.1/32")
    endpoint = ("endpoint", f"{there.inner4}:5")
    here.set("peer", behind.public_key, *endpoint, "allowed-ips", "10.67.0.2/32")
    for tunnel, address in ((here, "10.67.0.1/24"), (behind, "10.67.0.2/24")):
        tunnel.ip("address", "add", address, "dev", tunnel.interface)
        tunnel.ip("link", "set", tunnel.interface, "up")
    assert ping(here, "10.67.0.2") == 3
    assert behind.show("endpoints").endswith(f"{here.inner4}:{PORT}")


@pytest.mark.parametrize("version", [4, 6], ids=["outer4", "outer6"])
def test_what_would_go_through_itself_for_ever_goes_nowhere(pair: Pair, version: int) -> None:
    here, there = pair
    inner = there.inner4 if version == 4 else f"[{there.inner6}]"
    here.set("peer", there.public_key, "endpoint", f"{inner}:{PORT}")
    before = here.transfer().sent
    assert ping(here, there.inner4, 5) == 0
    time.sleep(0.5)
    assert here.transfer().sent - before < 5 * 200
    here.set("peer", there.public_key, "endpoint", f"{there.space.v4}:{PORT}")
    assert ping(here, there.inner4) == 3


def test_everything_but_the_tunnels_own_datagrams_goes_through_it(
    spaces: tuple[Namespace, Namespace],
) -> None:
    """As wg-quick(8) routes 0.0.0.0/0: by a mark, a rule and a table."""
    here, there = start(spaces[0], "ours"), start(spaces[1], "ours")
    introduce(here, there)
    here.set("fwmark", "51820", "peer", there.public_key, "allowed-ips", "0.0.0.0/0,::/0")
    for family in ("-4", "-6"):
        here.ip(family, "route", "add", "default", "dev", here.interface, "table", "51820")
        here.ip(family, "rule", "add", "not", "fwmark", "51820", "table", "51820")
        here.ip(family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
    there.ip("address", "add", "198.18.99.7/32", "dev", "lo")
    there.ip("address", "add", "2001:db8:99::7/128", "dev", "lo", "nodad")
    wait_for_pings(here, "198.18.99.7")
    assert ping(here, "198.18.99.7") == 3
    assert ping(here, "2001:db8:99::7") == 3
    # also when the peer's own address is reached by a route that the tunnel would take over
    here.ip("route", "delete", "192.0.2.0/24", "dev", "wire0")
    here.ip("route", "add", "default", "dev", "wire0")
    wait_for_pings(here, "198.18.99.7")


def test_a_keepalive_keeps_the_way_through_a_nat_with_a_short_memory(
    spaces: tuple[Namespace, Namespace],
) -> None:
    inside, router = spaces
    with third(router, "wire1", 71) as outside:
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        router.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "wire1", "-j", "MASQUERADE")
        for name in ("udp_timeout", "udp_timeout_stream"):
            router.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=2")
        inside.run("ip", "route", "add", "default", "via", router.v4)

        client, server = start(inside, "ours"), start(outside, "ours")
        client.set(
            *("peer", server.public_key, "endpoint", f"{outside.v4}:{PORT}"),
            *("allowed-ips", f"{server.inner4}/32", "persistent-keepalive", "1"),
        )
        server.set("peer", client.public_key, "allowed-ips", f"{client.inner4}/32")
        for tunnel in (server, client):
            tunnel.up()
        assert ping(client, server.inner4) == 3
        assert server.show("endpoints").endswith(f"198.18.71.1:{PORT}")
        time.sleep(4)
        assert ping(server, client.inner4) == 3

        client.set("peer", server.public_key, "persistent-keepalive", "0")
        forgotten = f"dst={outside.v4}"
        wait_until(lambda: forgotten not in router.output("conntrack", "-L"), "the router forgets", 15)
        assert ping(server, client.inner4, 1) == 0
        assert ping(client, server.inner4) == 3
        assert ping(server, client.inner4) == 3


# Local addresses


@pytest.mark.parametrize("version", [4, 6], ids=["outer4", "outer6"])
def test_a_local_address_that_goes_away_is_left_at_once(
    spaces: tuple[Namespace, Namespace], version: int
) -> None:
    here, there = start(spaces[0], "ours"), start(spaces[1], "ours")
    introduce(here, there, version=version)
    assert ping(here, there.inner4) == 3
    new, old = ("192.0.2.10/24", "192.0.2.1/24") if version == 4 else ("2001:db8::10/64", "2001:db8::1/64")
    here.space.run("sysctl", "-qw", "net.ipv4.conf.wire0.promote_secondaries=1")
    here.ip("address", "add", new, "dev", "wire0", *(("nodad",) if version == 6 else ()))
    here.ip("address", "delete", old, "dev", "wire0")
    assert ping(here, there.inner4) == 3
    assert new.split("/")[0] in there.show("endpoints")
    assert ping(there, here.inner4) == 3


def test_all_addresses_go_away_and_come_back(pair: Pair) -> None:
    here, there = pair
    here.ip("address", "flush", "dev", "wire0")
    assert ping(here, there.inner4, 1) == 0
    here.ip("address", "add", "192.0.2.77/24", "dev", "wire0")
    assert ping(here, there.inner4) == 3
    assert there.show("endpoints").endswith(f"192.0.2.77:{PORT}")


def test_an_address_of_another_interface_answers(pair: Pair) -> None:
    here, there = pair
    here.ip("link", "add", "other0", "type", "bridge")
    here.ip("address", "add", "198.18.50.1/24", "dev", "other0")
    here.ip("link", "set", "other0", "up")
    there.ip("route", "add", "198.18.50.0/24", "via", here.space.v4)
    there.set("peer", here.public_key, "endpoint", f"198.18.50.1:{PORT}")
    assert ping(there, here.inner4) == 3
    assert there.show("endpoints").endswith(f"198.18.50.1:{PORT}")


# Keys


def test_keys_change_while_packets_are_on_their_way(pair: Pair) -> None:
    here, there = pair
    for changed, other in ((here, there), (there, here)):
        pings = other.space.start("ping", "-q", "-i", "0.05", "-c", "40", "-W", "2", changed.inner4)
        time.sleep(0.3)
        former, private_key = changed.public_key, wg("genkey")
        changed.public_key = wg("pubkey", stdin=private_key)
        other.set(
            *("peer", former, "remove", "peer", changed.public_key),
            *("endpoint", f"{changed.space.v4}:{PORT}", "allowed-ips", f"{changed.inner4}/32"),
        )
        changed.set("private-key", "/dev/stdin", stdin=private_key)
        assert ping(changed, other.inner4) == 3
        output, _ = pings.communicate(timeout=30)
        assert received(output) > 20
    psk = wg("genpsk")
    for one, other in ((here, there), (there, here)):
        one.set("peer", other.public_key, "preshared-key", "/dev/stdin", stdin=psk)
    assert ping(here, there.inner4) == 3


def test_who_gets_a_key_later_calls_at_once(spaces: tuple[Namespace, Namespace]) -> None:
    here, there = start(spaces[0], "ours"), start(spaces[1], "ours")
    here.set("private-key", "/dev/null")
    introduce(here, there, "persistent-keepalive", "60")
    time.sleep(0.2)
    assert here.transfer().sent == 0
    here.set("private-key", "/dev/stdin", stdin=here.private_key)
    wait_until(lambda: here.latest_handshake() > 0, "the handshake", 3)


# Namespaces


def test_a_moved_device_loses_not_even_its_first_packet(pair: Pair) -> None:
    here, there = pair
    with wired_pair() as elsewhere:
        for space in elsewhere:  # from ours to another, and from there to a third
            here.ip("link", "set", here.interface, "netns", space.name)
            here.space = space
            here.up()
            assert ping(here, there.inner4, 1, "-W", "1") == 1
            assert ping(there, here.inner4) == 3
            here.ip("link", "set", here.interface, "mtu", "1000")
            before = here.transfer().sent
            assert ping(here, there.inner4, 1, "-s", "972") == 1
            assert here.transfer().sent - before == 1000 + 32
            here.ip("link", "set", here.interface, "mtu", "1420")
            here.ip("link", "set", here.interface, "down")
            assert ping(there, here.inner4, 1, "-W", "1") == 0


def test_a_device_ends_with_the_namespace_that_it_was_moved_to(pair: Pair) -> None:
    here, _ = pair
    with wired_pair() as (elsewhere, _):
        here.ip("link", "set", here.interface, "netns", elsewhere.name)
        elsewhere.run("ip", "link", "set", here.interface, "up")
        assert here.process.poll() is None
    assert here.process.wait(10) == 0
    assert not here.control.exists()


# What is told to senders


def test_forwarded_senders_hear_that_nobody_can_be_reached(spaces: tuple[Namespace, Namespace]) -> None:
    client, gateway = spaces
    ours = start(gateway, "ours")
    ours.up()
    ours.set("peer", wg("pubkey", stdin=wg("genkey")), "allowed-ips", "10.66.0.253/32,fd66::fd/128")
    gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    client.run("ip", "route", "add", "10.66.0.0/24", "via", gateway.v4)
    client.run("ip", "route", "add", "fd66::/64", "via", gateway.v6)
    for space in (client, gateway):  # no peer, and a peer whose endpoint nobody knows
        for address in ("10.66.0.254", "10.66.0.253"):
            done = space.run("ping", "-c", "1", "-W", "5", address, check=False)
            assert "Destination Host Unreachable" in done.stdout
        for address in ("fd66::fe", "fd66::fd"):
            done = space.run("ping", "-c", "1", "-W", "5", address, check=False)
            assert "Destination unreachable: Address unreachable" in done.stdout


# Silence


@pytest.mark.slow
def test_an_idle_tunnel_sends_nothing_and_never_wakes(pair: Pair) -> None:
    time.sleep(14)  # 10 s after the last echo one side says that it is there
    before = [(_datagrams(tunnel), tunnel.transfer(), _wakeups(tunnel)) for tunnel in pair]
    time.sleep(12)
    for tunnel, (datagrams, transfer, wakeups) in zip(pair, before):
        assert _wakeups(tunnel) - wakeups <= 2  # for `wg` above, whose connection may still have been closing
        assert _datagrams(tunnel) == datagrams
        assert tunnel.transfer() == transfer
    here, there = pair
    assert ping(here, there.inner4) == 3


def _datagrams(tunnel: Tunnel) -> int:
    """Sent over UDP in the tunnel's namespace so far."""
    names, values = (
        line.split()
        for line in tunnel.space.output("cat", "/proc/net/snmp").splitlines()
        if line[:4] == "Udp:"
    )
    six = dict(line.split() for line in tunnel.space.output("cat", "/proc/net/snmp6").splitlines())
    return int(values[names.index("OutDatagrams")]) + int(six["Udp6OutDatagrams"])


def _wakeups(tunnel: Tunnel) -> int:
    status = Path(f"/proc/{tunnel.process.pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "voluntary_ctxt_switches" in line)


# ECN


def test_congestion_is_told_through_the_tunnel(pair: Pair) -> None:
    here, there = pair
    listener = there.space.start(sys.executable, "-c", _LISTEN_FOR_TOS, there.inner4)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"

    def arrives_as(tos: int) -> int:
        here.space.run(sys.executable, "-c", _SEND_WITH_TOS, there.inner4, str(tos))
        assert listener.stdout is not None
        return int(listener.stdout.readline())

    assert [arrives_as(tos) for tos in (0, 1, 2, 3, 0xB9)] == [0, 1, 2, 3, 0xB9]
    chain = f"type filter hook output priority 0; udp dport {PORT} ip ecn set ce;"
    here.space.run("nft", "-f", "-", stdin=f"table ip congested {{ chain out {{ {chain} }}; }}")
    assert [arrives_as(tos) for tos in (0, 1, 2, 3, 0xB9)] == [0, 3, 3, 3, 0xBB]


_LISTEN_FOR_TOS = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, 13, 1)
sock.bind((sys.argv[1], 9))
print("ready", flush=True)
while True:
    print(sock.recvmsg(100, 100)[1][0][2][0], flush=True)
"""
_SEND_WITH_TOS = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(sys.argv[2]))
sock.sendto(b"x", (sys.argv[1], 9))
"""


def test_the_outer_class_of_service_is_the_congestion_of_the_inner_alone(pair: Pair) -> None:
    here, there = pair
    capture = there.space.start("tcpdump", "-lnvi", "wire0", "-c", "4", "udp", "and", "src", here.space.v4)
    assert capture.stdout is not None
    while "listening on" not in capture.stdout.readline():
        pass
    for tos in ("0", "1", "2", "3"):
        assert ping(here, there.inner4, 1, "-Q", tos) == 1
    output, _ = capture.communicate(timeout=20)
    seen = [line.split("tos ")[1].split(",")[0] for line in output.splitlines() if "tos " in line]
    assert seen == ["0x0", "0x1", "0x2", "0x2"]  # RFC 6040, 4.1, compatibility mode


# A process that is paused


def test_a_pause_is_survived(pair: Pair) -> None:
    here, there = pair
    here.process.send_signal(signal.SIGSTOP)
    flood = there.space.start("ping", "-q", "-i", "0.002", "-c", "500", "-W", "1", here.inner4)
    flood.wait(30)
    here.process.send_signal(signal.SIGCONT)
    wait_for_pings(there, here.inner4, 5)
    assert ping(here, there.inner4) == 3
