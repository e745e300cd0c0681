"""What a lab consists of: an inventory turned into nodes and the wires between them.

Job: the whole lab as a value that can be compared and kept in a file. Every node is a machine of its own:
`@internet` (a router between all others and this machine), `HOST`, `HOST/router` in front of a host behind
NAT, `HOST/client`, `HOST/client2` ... behind its subnets. Pure: what this machine uses is an argument.
Called by `lab` (up); the record hands it back to the other commands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal, Optional

from fleet.errors import Finding, FindingsError, FleetError
from fleet.inventory.model import Address, Host, Inventory, Network
from fleet.lab.nat import Forward, ruleset
from fleet.lab.ranges import Taken, refusal

INTERNET = "@internet"
MACHINE = ""  # the node that is this machine's own network namespace
# Every underlay interface leads to a next hop of its own; both exist on each of the internet's interfaces.
GATEWAYS = {4: "169.254.0.1", 6: "fe80::1"}
# A network between router and host must not be one that the fleet itself uses.
INNER = {
    4: ("192.168.1.0/24", "192.168.178.0/24", "172.31.255.0/24", "10.255.254.0/24", "100.127.254.0/24"),
    6: ("fd00:c0de:1::/64", "fd00:c0de:2::/64", "fd00:c0de:3::/64"),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class User:
    """An account that the controller logs in with; `sudo` where it becomes root."""

    name: str
    sudo: bool


@dataclass(frozen=True)
class Node:
    """One machine. `rules` is for nft, `names` are lines of its /etc/hosts, `ssh_port` None: no sshd."""

    name: str
    kind: Literal["internet", "router", "host", "client"]
    hostname: str
    forwards: bool
    rules: str = ""
    names: tuple[str, ...] = ()
    ssh_port: Optional[int] = None
    users: tuple[User, ...] = ()


@dataclass(frozen=True)
class End:
    """One end of a wire: `addresses` with prefix length, `routes` as `ip route` takes them (without dev)."""

    node: str
    interface: str
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wire:
    """A veth pair; `near` is closer to the internet."""

    near: End
    far: End


@dataclass(frozen=True)
class Door:
    """Where a host is logged in to: its (or its router's) address and port."""

    host: str
    address: str
    port: int
    nat: bool


@dataclass(frozen=True)
class Layout:
    """A lab. `id` marks everything that belongs to it, see `processes` and `interface`."""

    id: str
    nodes: tuple[Node, ...]
    wires: tuple[Wire, ...]
    doors: tuple[Door, ...]

    @property
    def interface(self) -> str:
        """The interface of this machine that leads into the lab."""
        return f"fl-{self.id}"

    def clients(self, host: str) -> list[Node]:
        """The clients behind a host, in the order of its subnets."""
        return [n for n in self.nodes if n.kind == "client" and n.name.startswith(f"{host}/")]

    def address(self, node: str) -> str:
        """The first address of a node on its way out, without prefix length."""
        end = next(wire.far for wire in self.wires if wire.far.node == node)
        return end.addresses[0].partition("/")[0]


@dataclass(frozen=True)
class _Underlay:
    """What a host is on the internet: outer addresses, and the port of its endpoint."""

    addresses: tuple[Address, ...]
    forwarded_port: int | None
    names: tuple[str, ...]


def lay_out(inventory: Inventory, lab_id: str, taken: Sequence[Taken], login: str) -> Layout:
    """The lab of an inventory; `login` is who logs in where the inventory does not say.

    Raises FindingsError with everything that a lab cannot be made of.
    """
    underlays, findings = _underlays(inventory, taken)
    if findings:
        raise FindingsError(findings)
    names = tuple(line for underlay in underlays.values() for line in underlay.names)
    used = _used(inventory, [a for u in underlays.values() for a in u.addresses])
    nodes, wires, doors = [Node(INTERNET, "internet", "internet", forwards=True)], [], []
    for host in inventory.hosts.values():
        underlay = underlays[host.name]
        port = host.connection.port or 22
        outer = str(underlay.addresses[0])
        doors.append(Door(host.name, outer, port, host.nat))
        if host.nat:
            router, behind, wire = _behind_router(host, underlay, used)
            nodes.append(router)
            wires += [behind, wire]
        else:
            wires.append(_to_internet(host.name, "eth0", underlay.addresses))
        users = {name: User(name, host.connection.become) for name in (host.connection.user or login, "root")}
        hostname = host.name[:63]
        nodes.append(Node(host.name, "host", hostname, False, "", names, port, tuple(users.values())))
        for client, wire in _clients(host):
            nodes.append(client)
            wires.append(wire)
    wires.append(_to_machine(lab_id, [a for u in underlays.values() for a in u.addresses]))
    return Layout(lab_id, tuple(nodes), tuple(wires), tuple(doors))


def _underlays(inventory: Inventory, taken: Sequence[Taken]) -> tuple[dict[str, _Underlay], list[Finding]]:
    underlays: dict[str, _Underlay] = {}
    findings: list[Finding] = []
    owners: dict[Address, str] = {}
    for host in inventory.hosts.values():
        found: list[tuple[str, str]] = list(_host_problems(host))
        outer, problem = _outer(host)
        found += [("ansible_host", problem)] if problem else []
        endpoint_host, endpoint_port = _split(host.endpoint)
        endpoint = _address(endpoint_host)
        addresses = [a for a in (outer, endpoint) if a is not None]
        for address in dict.fromkeys(addresses):
            variable = "ansible_host" if address == outer else "fleet_endpoint"
            reason = refusal(address, taken)
            if owners.setdefault(address, host.name) != host.name:
                reason = f"{address} is the address of {owners[address]} too: a lab host needs one of its own"
            found += [(variable, reason)] if reason else []
        findings += [Finding(host.place(variable), f"{host.name}: {text}") for variable, text in found]
        names = (f"{outer} {endpoint_host}",) if endpoint_host and endpoint is None else ()
        underlays[host.name] = _Underlay(tuple(dict.fromkeys(addresses)), endpoint_port, names)
    return underlays, findings


def _host_problems(host: Host) -> Iterator[tuple[str, str]]:
    if host.connection.kind != "ssh":
        yield (
            "ansible_connection",
            "is this machine itself; the lab makes hosts that are reached over SSH only",
        )
    if not _NAME.fullmatch(host.name):
        yield "", f"{host.name!r} cannot be the name of a lab host: use letters, digits, '.', '_' and '-'"
    user = host.connection.user
    if user is not None and not _USER.fullmatch(user):
        yield "ansible_user", f"{user!r} cannot be an account of a lab host: use a-z, 0-9, '_' and '-'"


def _outer(host: Host) -> tuple[Address | None, str | None]:
    address = _address(host.connection.host)
    if address is None and host.connection.kind == "ssh":
        return None, (
            f"ansible_host {host.connection.host} is a name, and a lab host is made at an address: "
            "set ansible_host to one like 203.0.113.10"
        )
    return address, None


def _to_internet(node: str, interface: str, addresses: Sequence[Address]) -> Wire:
    """Routed, not bridged: no host shares a link with another, as on the real internet."""
    inside = "h" + hashlib.sha256(node.encode()).hexdigest()[:10]
    near = End(INTERNET, inside, _gateway_addresses(addresses), tuple(_full(a) for a in addresses))
    return Wire(near, End(node, interface, tuple(_full(a) for a in addresses), _defaults(addresses)))


def _to_machine(lab_id: str, addresses: Sequence[Address]) -> Wire:
    """This machine's way in. Its own address there is link-local (RFC 3927) or unique local (RFC 4193)."""
    number = int(lab_id, 16)
    sources: dict[int, Address] = {
        4: ip_address(f"169.254.{1 + number % 160}.{1 + (number >> 8) % 254}"),
        6: IPv6Address(int(IPv6Address("fd1a:b000::1")) | number << 64),
    }
    sources = {version: sources[version] for version in sorted({a.version for a in addresses})}
    routes = tuple(f"{_via(_full(a), a.version)} src {sources[a.version]}" for a in addresses)
    inside = End(INTERNET, "machine", _gateway_addresses(addresses), tuple(map(_full, sources.values())))
    return Wire(End(MACHINE, f"fl-{lab_id}", tuple(map(_full, sources.values())), routes), inside)


def _behind_router(host: Host, underlay: _Underlay, used: Sequence[Network]) -> tuple[Node, Wire, Wire]:
    versions = sorted({address.version for address in underlay.addresses})
    lan = [_inner_network(version, used) for version in versions]
    forwards = [Forward("tcp", host.connection.port or 22, host.connection.port or 22)]
    if underlay.forwarded_port is not None:
        forwards.append(Forward("udp", underlay.forwarded_port, host.listen_port))
    name = f"{host.name}/router"
    rules = ruleset([network[2] for network in lan], forwards)
    router = Node(name, "router", f"{host.name}-router"[:63], True, rules)
    wan = _to_internet(name, "wan", underlay.addresses)
    near = End(name, "lan", tuple(_in(network, 1) for network in lan))
    routes = tuple(f"{_everything(n.version)} via {n[1]}" for n in lan)
    return router, wan, Wire(near, End(host.name, "eth0", tuple(_in(n, 2) for n in lan), routes))


def _clients(host: Host) -> Iterator[tuple[Node, Wire]]:
    """One behind each subnet; a subnet that is everything (an exit) has no client."""
    for number, subnet in enumerate((n for n in host.subnets if n.prefixlen), start=1):
        suffix = "client" if number == 1 else f"client{number}"
        name, interface = f"{host.name}/{suffix}", f"lan{number}"
        client = Node(name, "client", f"{host.name}-{suffix}"[:63], False)
        version = subnet.version
        if subnet.num_addresses == 1:
            only = subnet[0]
            near = End(host.name, interface, _gateway_addresses([only]), (_full(only),))
            yield client, Wire(near, End(name, "eth0", (_full(only),), _defaults([only])))
            continue
        first = 1 if subnet.num_addresses > 2 else 0
        near = End(host.name, interface, (_in(subnet, first),))
        route = f"{_everything(version)} via {subnet[first]}"
        yield client, Wire(near, End(name, "eth0", (_in(subnet, first + 1),), (route,)))


def _used(inventory: Inventory, outer: Iterable[Address]) -> list[Network]:
    """Everything that the fleet itself means by some address."""
    used: list[Network] = [*inventory.pools, *(ip_network(address) for address in outer)]
    for host in inventory.hosts.values():
        used += [n for n in host.subnets if n.prefixlen]
        used += [ip_network(address) for address in host.addresses]
    return used


def _inner_network(version: int, used: Sequence[Network]) -> Network:
    networks = [ip_network(text) for text in INNER[version]]
    for network in networks:
        if not any(_overlap(network, use) for use in used):
            return network
    raise FleetError(
        "the lab needs a network between routers and hosts behind NAT, but the inventory uses "
        f"{', '.join(INNER[version])}: leave one of them free"
    )


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _split(endpoint: str | None) -> tuple[str, int | None]:
    if endpoint is None:
        return "", None
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _full(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def _in(network: Network, index: int) -> str:
    return f"{network[index]}/{network.prefixlen}"


def _everything(version: int) -> str:
    return "0.0.0.0/0" if version == 4 else "::/0"


def _via(destination: str, version: int) -> str:
    onlink = " onlink" if version == 4 else ""
    return f"{destination} via {GATEWAYS[version]}{onlink}"


def _defaults(addresses: Iterable[Address]) -> tuple[str, ...]:
    return tuple(_via(_everything(version), version) for version in sorted({a.version for a in addresses}))


def _gateway_addresses(addresses: Iterable[Address]) -> tuple[str, ...]:
    texts = {4: "169.254.0.1/32", 6: "fe80::1/64"}
    return tuple(texts[version] for version in sorted({address.version for address in addresses}))
