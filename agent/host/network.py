"""Links, addresses and routes, over rtnetlink.

Job: look and change one thing at a time. Refuses to know WireGuard beyond the kind of a link. Called
by host. Every change is safe to repeat.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink import NLM_F_DUMP_INTR
from pyroute2.netlink.exceptions import NetlinkError

from agent.bundle import MAIN_TABLE, Route
from agent.netns import opened

PROTOCOL = 119
"""Marks routes as ours (rtnetlink(7), rtm_protocol); not among those of iproute2's rt_protos."""

# include/uapi/linux/rtnetlink.h, if_addr.h, if.h
_UNICAST = 1
_NODAD = 0x02
_UP = 0x1

_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the route as it was set, Linux 4.13
_NO_WAY = frozenset(
    {
        *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETDOWN),
        *(errno.EAFNOSUPPORT, errno.EOPNOTSUPP),  # without IPv6 (ipv6.disable=1)
    }
)

_ATTEMPTS = 5


@dataclass(frozen=True)
class LinkState:
    """A link: `kind` is `wireguard`, `tun` ..., None for hardware; `mtu` in bytes."""

    index: int
    kind: Optional[str]
    up: bool
    mtu: int


class Network:
    """The network namespace of the calling thread. All methods raise OSError with an errno."""

    def link(self, name: str) -> Optional[LinkState]:
        """The link, None where there is none."""
        with netlink() as ip:
            return _link(ip, name)

    def wireguard_links(self) -> tuple[str, ...]:
        """The names of the kernel's WireGuard devices, as the kernel orders them."""
        with netlink() as ip:
            found = dump(lambda: ip.link("dump"))
        return tuple(link.get_attr("IFLA_IFNAME") for link in found if _kind(link) == "wireguard")

    def add_wireguard(self, name: str, netns: Optional[str] = None) -> None:
        """Makes a kernel device; the kernel loads its module. EOPNOTSUPP where it has no WireGuard.

        It is made in the namespace `netns` at once, and its UDP sockets stay in ours (Linux,
        drivers/net/wireguard/device.c, creating_net). EEXIST: before 6.14 also where ours has such a name.
        """
        with netlink() as ip:
            if netns is None:
                ip.link("add", ifname=name, kind="wireguard")
                return
            with opened(netns) as descriptor:
                ip.link("add", ifname=name, kind="wireguard", net_ns_fd=descriptor)

    def move_link(self, name: str, netns: str) -> None:
        """Moves a link from our namespace to `netns`, where it is down and has no addresses."""
        with netlink() as ip, opened(netns) as descriptor:
            ip.link("set", index=_index(ip, name), net_ns_fd=descriptor)

    def remove_link(self, name: str) -> None:
        """Removes a link if there is one."""
        with netlink() as ip:
            link = _link(ip, name)
            if link is not None:
                ip.link("del", index=link.index)

    def set_link(self, name: str, mtu: Optional[int], up: Optional[bool]) -> None:
        """Sets what is not None."""
        with netlink() as ip:
            index = _index(ip, name)
            if mtu is not None:
                ip.link("set", index=index, mtu=mtu)
            if up is not None:
                ip.link("set", index=index, state="up" if up else "down")

    def addresses(self, index: int) -> tuple[str, ...]:
        """`a.b.c.d/len` of both families."""
        with netlink() as ip:
            return tuple(address_of(found) for found in dump(lambda: ip.get_addr(index=index)))

    def add_address(self, name: str, address: str) -> None:
        """A WireGuard device has no neighbours to ask whether they use the address too."""
        ip_text, length = address.split("/")
        with netlink() as ip, unless(errno.EEXIST):
            index = _index(ip, name)
            flags = {"flags": _NODAD} if ":" in ip_text else {}
            ip.addr("add", index=index, address=ip_text, prefixlen=int(length), **flags)

    def remove_address(self, name: str, address: str) -> None:
        """Removes an address if it is there."""
        ip_text, length = address.split("/")
        with netlink() as ip, unless(errno.EADDRNOTAVAIL):
            ip.addr("del", index=_index(ip, name), address=ip_text, prefixlen=int(length))

    def routes(self, index: int) -> tuple[Route, ...]:
        """Those through the link that are ours."""
        with netlink() as ip:
            found = _ours(ip)
        return tuple(
            Route(_destination(route), route.get_attr("RTA_PREFSRC"), _table(route))
            for route in found
            if route.get_attr("RTA_OIF") == index
        )

    def set_route(self, name: str, route: Route, instead: bool) -> None:
        """Replaces a route of ours for this destination. EEXIST where somebody else has one.

        `instead` says that there is one of ours, which need not be found out then.
        """
        with netlink() as ip:
            wanted = _route(_index(ip, name), route)
            if route.source is not None:
                wanted["prefsrc"] = route.source
            if instead:
                ip.route("replace", **wanted)
                return
            try:
                ip.route("add", **wanted)
            except NetlinkError as error:
                if error.code != errno.EEXIST or not _is_ours(ip, route):
                    raise
                ip.route("replace", **wanted)

    def remove_route(self, name: str, route: Route) -> None:
        """Removes a route of ours if it is there."""
        with netlink() as ip, unless(errno.ESRCH):
            ip.route("del", **_route(_index(ip, name), route))

    def owner(self, destination: str, but: str) -> Optional[str]:
        """The interface other than `but` whose own network `destination` is, by one of its addresses."""
        network = ipaddress.ip_network(destination)
        family = int(socket.AF_INET if network.version == 4 else socket.AF_INET6)
        with netlink() as ip:
            link = _link(ip, but)
            here = None if link is None else link.index
            for found in dump(lambda: ip.get_addr(family=family)):
                if found["index"] != here and ipaddress.ip_interface(address_of(found)).network == network:
                    return socket.if_indextoname(found["index"])
        return None

    @contextmanager
    def paths(self, but: int) -> Iterator[Callable[[str, int], Optional[int]]]:
        """From an address and a mark to the MTU of the way there, None where there is none.

        As routes and links have it: what was learned of a path is forgotten after minutes. A way by the link
        `but` is none. Many are asked for at a time, and leave by few links.
        """
        known: dict[int, int] = {}
        with netlink() as ip:
            yield lambda address, mark: _path_mtu(ip, address, mark, but, known)


@contextmanager
def netlink() -> Iterator[Any]:
    """rtnetlink of this namespace: a socket for a few requests; what they raise becomes OSError."""
    try:
        with _open() as ip:
            yield ip
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


def _open() -> Any:
    connect: Any = IPRoute
    try:
        return connect(strict_check=True)  # from Linux 4.20 on the kernel leaves out what we do not ask for
    except OSError:
        return connect()


@contextmanager
def unless(*harmless: int) -> Iterator[None]:
    """Errors of these errnos are none."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in harmless:
            raise


def dump(ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """A dump that what it tells of did not change under; after some attempts, the last one there is."""
    found: list[Any] = []
    for _ in range(_ATTEMPTS):
        found = list(ask())
        if not any(message["header"]["flags"] & NLM_F_DUMP_INTR for message in found):
            break
    return found


def _ours(ip: Any) -> list[Any]:
    """Our routes of both families in all tables; what an old kernel does not leave out is left out here."""
    found = [
        route
        for family in (int(socket.AF_INET), int(socket.AF_INET6))
        for route in dump(partial(ip.get_routes, family=family, proto=PROTOCOL))
    ]
    return [route for route in found if (route["proto"], route["type"]) == (PROTOCOL, _UNICAST)]


def _is_ours(ip: Any, route: Route) -> bool:
    return (route.destination, route.table) in [(_destination(found), _table(found)) for found in _ours(ip)]


def _link(ip: Any, name: str) -> Optional[LinkState]:
    try:
        (found,) = ip.link("get", ifname=name)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return LinkState(found["index"], _kind(found), bool(found["flags"] & _UP), found.get_attr("IFLA_MTU"))


def _kind(link: Any) -> Optional[str]:
    info = link.get_attr("IFLA_LINKINFO")
    return None if info is None else info.get_attr("IFLA_INFO_KIND")


def _leaving(route: Any) -> list[int]:
    """The links by which a route leaves; several share the load of one."""
    one = route.get_attr("RTA_OIF")
    return [hop["oif"] for hop in route.get_attr("RTA_MULTIPATH") or ()] if one is None else [one]


def _path_mtu(ip: Any, address: str, mark: int, but: int, known: dict[int, int]) -> Optional[int]:
    """`known` has the MTUs of links, and gets those that are asked for."""
    try:
        (found,) = ip.route("get", dst=address, flags=_FIB_MATCH, **({"mark": mark} if mark else {}))
    except NetlinkError as error:
        if error.code in _NO_WAY:
            return None
        raise
    links = _leaving(found)
    if but in links:
        return None
    metrics = found.get_attr("RTA_METRICS")
    said = None if metrics is None else metrics.get_attr("RTAX_MTU")
    if said:
        return int(said)
    for index in links:
        if index not in known:
            (link,) = ip.link("get", index=index)
            known[index] = link.get_attr("IFLA_MTU")
    return min((known[index] for index in links), default=None)


def _index(ip: Any, name: str) -> int:
    link = _link(ip, name)
    if link is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return link.index


def address_of(found: Any) -> str:
    """`a.b.c.d/len` of what a dump has."""
    own = found.get_attr("IFA_LOCAL") or found.get_attr("IFA_ADDRESS")
    return f"{own}/{found['prefixlen']}"


def _destination(route: Any) -> str:
    nothing = "0.0.0.0" if route["family"] == socket.AF_INET else "::"  # noqa: S104
    return f"{route.get_attr('RTA_DST') or nothing}/{route['dst_len']}"


def _route(index: int, route: Route) -> dict[str, Any]:
    table = MAIN_TABLE if route.table is None else route.table
    return {"dst": route.destination, "oif": index, "proto": PROTOCOL, "table": table}


def _table(found: Any) -> Optional[int]:
    """As Route has it."""
    table = int(found.get_attr("RTA_TABLE", MAIN_TABLE))
    return None if table == MAIN_TABLE else table
