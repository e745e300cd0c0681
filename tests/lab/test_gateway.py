"""What a forwarding host does to the traffic that it passes on: masquerade, MSS, and nobody else's rules."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.bundle import Bundle, Gateway, Interface, Peer, Route
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.host import Host
from tests.lab.namespaces import Namespace, interface_name, third, wait_until, wired_pair
from tests.lab.test_host import KERNEL, Machine, spawner

pytestmark = pytest.mark.lab
KINDS = pytest.mark.parametrize("kind", [KERNEL, "ours"])

MTU = 1380
SOURCES = ("10.66.0.0/16", "198.18.2.0/24", "2001:db8:2::/64", "fd66::/64")
GATEWAY = Gateway(clamp_mss=True, masquerade=("out0", "wire9"), sources=SOURCES)
LISTEN = """
import socket, sys
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.IPPROTO_TCP, 27, 1)  # TCP_SAVE_SYN
server.bind(("::", 7))
server.listen()
print("ready", flush=True)
while True:
    client, (address, *_) = server.accept()
    syn = client.getsockopt(socket.IPPROTO_TCP, 28, 512)  # TCP_SAVED_SYN
    tcp = syn[40:] if syn[0] >> 4 == 6 else syn[20:]
    print(address.removeprefix("::ffff:"), int.from_bytes(tcp[22:24], "big"), flush=True)
    client.sendall(b"hello")
    client.close()
"""
CALL = "import socket, sys; print(socket.create_connection((sys.argv[1], 7), 5).recv(9).decode())"
FOREIGN = """
table ip fleet-filter {
    chain forward { type filter hook forward priority 0; policy accept; tcp dport 9 counter drop; }
    chain postrouting { type nat hook postrouting priority 100; oifname "other0" masquerade; }
}
table inet filter { set known { type ipv4_addr; elements = { 192.0.2.77 }; }; }
"""


@dataclass
class Site:
    """A hub with `server` in a network outside; one spoke has `client` behind it, `other` has nothing."""

    hub: Machine
    spoke: Machine
    other: Machine
    server: Namespace
    client: Namespace

    def tables(self) -> str:
        return self.hub.space.output("nft", "list", "tables")

    def table(self) -> str:
        return self.hub.space.output("nft", "-a", "list", "table", "inet", f"fleet-{self.hub.interface}")


@contextmanager
def sites(kind: str, tmp_path: Path) -> Iterator[Site]:
    with (
        wired_pair("gate") as (hub, spoke),
        third(hub, "out0", 1) as server,
        third(hub, "wire9", 9) as other,
        third(spoke, "lan0", 2) as client,
    ):
        client.run("ip", "route", "add", "default", "via", "198.18.2.1")
        client.run("ip", "route", "add", "default", "via", "2001:db8:2::1")
        machines = [machine(space, n, kind, tmp_path) for n, space in enumerate((hub, spoke, other), 1)]
        try:
            yield Site(machines[0], machines[1], machines[2], server, client)
        finally:
            for one in machines:
                one.end()


def machine(space: Namespace, number: int, kind: str, tmp_path: Path) -> Machine:
    made = Machine(space, number, None, interface_name("g"))  # type: ignore[arg-type]
    run = tmp_path / str(number)
    made.host = Host(spawner(made, kind), forwarding=Forwarding(run=run), firewall=Firewall(run))
    return made


def bundle(here: Machine, kind: str, peers: tuple[Peer, ...], gateway: Gateway | None = None) -> Bundle:
    prefixes = [prefix for peer in peers for prefix in peer.allowed_ips]
    source = {True: f"fd66::{here.number}", False: f"10.66.0.{here.number}"}
    interface = Interface(
        name=here.interface,
        backend="kernel" if kind == "kernel" else "userspace",
        private_key=here.key,
        public_key=here.public_key,
        listen_port=51820,
        mtu=MTU,
        addresses=(f"10.66.0.{here.number}/32", f"fd66::{here.number}/128"),
        peers=peers,
        routes=tuple(Route(prefix, source[":" in prefix]) for prefix in prefixes),
        gateway=gateway,
    )
    return Bundle(1, "0" * 32, "t", f"host{here.number}", 1, (interface,), forwarding=True)


def peer(there: Machine, *prefixes: str, endpoint: str | None = None) -> Peer:
    return Peer(f"host{there.number}", there.public_key, None, endpoint, prefixes)


def hub_bundle(site: Site, kind: str, gateway: Gateway | None) -> Bundle:
    peers = (
        peer(site.spoke, "10.66.0.2/32", "198.18.2.0/24", "2001:db8:2::/64", "fd66::2/128"),
        peer(site.other, "10.66.0.3/32", "fd66::3/128"),
    )
    return bundle(site.hub, kind, peers, gateway)


def connect(site: Site, kind: str) -> None:
    site.hub.apply(hub_bundle(site, kind, GATEWAY))
    for spoke, hub in ((site.spoke, site.hub.space.v4), (site.other, "198.18.9.1")):
        ways = ["10.66.0.0/16", "198.18.1.0/24", "2001:db8:1::/64", "fd66::/64"]
        ways += [] if spoke is site.spoke else ["198.18.2.0/24", "2001:db8:2::/64"]
        spoke.apply(bundle(spoke, kind, (peer(site.hub, *ways, endpoint=f"{hub}:51820"),)))
        space = spoke.space
        reached = lambda space=space: not space.run("ping", "-c1", "-W1", "10.66.0.1", check=False).returncode  # noqa: E731
        wait_until(reached, f"{space.name} reaches the hub")


def listen(space: Namespace) -> Iterator[tuple[str, int]]:
    """Who calls from now on: the address that is seen, and the MSS in the SYN."""
    process = space.start(sys.executable, "-c", LISTEN)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return ((line.split()[0], int(line.split()[1])) for line in process.stdout)


def call(space: Namespace, address: str) -> None:
    assert space.output(sys.executable, "-c", CALL, address) == "hello"


@KINDS
def test_masquerade_and_mss(kind: str, tmp_path: Path) -> None:
    with sites(kind, tmp_path) as site:
        connect(site, kind)
        seen = listen(site.server)
        for caller in (site.spoke.space, site.client):
            call(caller, "198.18.1.2")
            assert next(seen) == ("198.18.1.1", MTU - 40)
            call(caller, "2001:db8:1::2")
            assert next(seen) == ("2001:db8:1::1", MTU - 60)

        # Between hosts of the fleet, and from outside, everybody is seen as who they are.
        inside = listen(site.other.space)
        call(site.spoke.space, "10.66.0.3")
        assert next(inside) == ("10.66.0.2", MTU - 40)
        call(site.client, "fd66::3")
        assert next(inside) == ("2001:db8:2::2", MTU - 60)
        site.server.run("ip", "route", "add", "198.18.2.0/24", "via", "198.18.1.1")
        client = listen(site.client)
        call(site.server, "198.18.2.2")
        assert next(client) == ("198.18.1.2", MTU - 40)


@KINDS
def test_a_forwarded_port_shows_who_calls(kind: str, tmp_path: Path) -> None:
    with sites(kind, tmp_path) as site:
        connect(site, kind)
        forward = "add table ip ports; add chain ip ports pre { type nat hook prerouting priority -100; }"
        rule = 'add rule ip ports pre iifname "out0" tcp dport 7 dnat to 198.18.2.2'
        site.hub.space.run("nft", f"{forward}; {rule}")
        seen = listen(site.client)
        call(site.server, "198.18.1.1")
        assert next(seen) == ("198.18.1.2", MTU - 40)


def test_only_our_table_comes_and_goes_and_what_hands_did_is_mended(tmp_path: Path) -> None:
    with sites("ours", tmp_path) as site:
        hub = site.hub
        hub.space.run("nft", "-f", "-", stdin=FOREIGN)
        foreign = hub.space.output("nft", "-a", "list", "ruleset")
        wanted = hub_bundle(site, "ours", GATEWAY)
        done = [change for change in hub.apply(wanted) if change.layer == "firewall"]
        deeds = ["MSS clamp", f"masquerade to out0 wire9 from {' '.join(SOURCES)}"]
        assert [(c.action, c.item, c.expected) for c in done] == [("add", hub.interface, deeds)]
        assert hub.apply(wanted) == []
        assert site.tables().count("fleet-g") == 1

        rules = re.findall(
            r"# handle (\d+)", "\n".join(r for r in site.table().split("\n") if "comment" in r)
        )
        first, last = rules[0], rules[-1]
        name = f"inet fleet-{hub.interface}"
        for how, said in (
            (f"delete rule {name} forward handle {first}", "without 'MSS out of the tunnel'"),
            (
                f'replace rule {name} postrouting handle {last} accept comment "masquerade IPv6"',
                "changed by hand",
            ),
            (f"add rule {name} forward drop", "changed by hand"),
            (f"flush table {name}", "without 'MSS out of the tunnel' and"),
        ):
            hub.space.run("nft", how)
            (mended,) = hub.apply(wanted)
            assert (mended.action, mended.expected) == ("change", deeds)
            assert mended.actual[-1].startswith(f"but {said}")
        hub.space.run("nft", f"delete table {name}")
        assert [change.action for change in hub.apply(wanted)] == ["add"]

        (less,) = hub.apply(hub_bundle(site, "ours", Gateway(clamp_mss=True)))
        assert (less.action, less.expected, less.actual) == ("change", ["MSS clamp"], deeds)
        assert "masquerade" not in site.table()
        (gone,) = hub.apply(hub_bundle(site, "ours", None))
        assert (gone.action, gone.layer) == ("remove", "firewall")
        assert hub.space.output("nft", "-a", "list", "ruleset") == foreign

        hub.apply(wanted)
        hub.host = Host(
            spawner(hub, "ours"),
            forwarding=Forwarding(run=tmp_path / "1"),
            firewall=Firewall(tmp_path / "1"),
        )
        assert hub.steps(wanted) == ()  # the next agent knows what this one wrote
        hub.apply(replace(wanted, interfaces=(), forwarding=False))
        assert hub.space.output("nft", "-a", "list", "ruleset") == foreign
        assert not list((tmp_path / "1").iterdir())
