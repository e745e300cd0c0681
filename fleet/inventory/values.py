"""Text to addresses, prefixes, names: the values that fleet's keys and variables take.

Each parser takes what YAML gave and raises ValueError with a sentence that quotes it. Called by `settings`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

from agent.bundle import check_interface_name, check_netns, join_endpoint, split_endpoint
from fleet.inventory.model import Address, Network

_FLEET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


def text(value: Any) -> str:
    """Text as it is."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected text, not {describe(value)}{_quote_cure(value)}")
    return value


def flag(value: Any) -> bool:
    """true or false (YAML also reads yes, no, on and off as these)."""
    if not isinstance(value, bool):
        cure = " without quotes" if isinstance(value, str) else f", not {describe(value)}"
        raise ValueError(f"expected true or false{cure}")
    return value


def number(value: Any, low: int, high: int) -> int:
    """A whole number between two, both included."""
    if isinstance(value, str) and value.isdecimal():
        raise ValueError("expected a number without quotes")
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected a number from {low} to {high}, not {describe(value)}")
    if not low <= value <= high:
        raise ValueError(f"{value} is not between {low} and {high}")
    return value


def address(value: Any) -> Address:
    """`10.77.0.1`, `fd77::1`."""
    written = text(value)
    if "/" in written:
        raise ValueError(f"{written!r} has a prefix length; write {written.partition('/')[0]}")
    try:
        found = ip_address(written)
    except ValueError:
        raise ValueError(f"{written!r} is not an IP address") from None
    if (problem := _special(found)) or "%" in written:
        raise ValueError(f"{written!r} is {problem or 'an address with a zone'}: a host needs one of its own")
    return found


def network(value: Any) -> Network:
    """`10.77.0.0/16`, `fd77:ac3e::/48`."""
    written = text(value)
    try:
        found = ip_network(written, strict=False)
    except ValueError:
        raise ValueError(f"{written!r} is not an IP network; write it like 10.77.0.0/16") from None
    if "/" not in written:
        raise ValueError(f"{written!r} has no prefix length; write {found!s} if that is what you mean")
    if found.network_address != ip_address(written.partition("/")[0]):
        raise ValueError(f"{written!r} has bits set behind the prefix; write {found!s}")
    if problem := _special(found.network_address) if found.prefixlen else None:
        raise ValueError(f"{written!r} is {problem}: it cannot be routed through a tunnel")
    return found


def endpoint(value: Any) -> str:
    """`HOST:PORT`, an IPv6 address in brackets; as the bundle takes it, addresses in their short form."""
    host, port = split_endpoint(text(value))
    return join_endpoint(endpoint_host(host), port)


def endpoint_host(host: str) -> str:
    """The name or address part of an endpoint."""
    try:
        found = ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
            raise ValueError(f"{host!r} is neither a host name nor an IP address") from None
        return host.lower()
    if (problem := _special(found)) or "%" in host:
        raise ValueError(f"{host!r} is {problem or 'an address with a zone'}: other hosts cannot call it")
    return str(found)


def interface(value: Any) -> str:
    """The name of a network interface."""
    check_interface_name(text(value))
    return str(value)


def netns(value: Any) -> str:
    """The name of a network namespace, as `ip netns` lists it."""
    name = text(value)
    if name.startswith("/"):
        raise ValueError(f"expected the name of a network namespace, a file in /run/netns, not {name!r}")
    check_netns(name)
    return name


def way_out(value: Any) -> str:
    """The name of an interface that leads to other machines."""
    name = interface(value)
    if name == "lo":
        raise ValueError("'lo' leads to the host itself; name the interface that leads to the other network")
    return name


def fleet_name(value: Any) -> str:
    """A name that may also be a file's."""
    if not _FLEET_NAME.fullmatch(text(value)):
        raise ValueError(f"{value!r}: expected up to 63 letters, digits, -, _ and dots")
    return str(value)


def describe(value: Any) -> str:
    """What YAML made of a value, for a message."""
    if value is None:
        return "nothing"
    if value == "":
        return "an empty text"
    for kind, word in (
        (bool, f"the boolean {str(value).lower()}"),
        (int, f"the number {value}"),
        (float, f"the number {value}"),
        (str, repr(value)),
        (dict, "a mapping"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return word
    return f"a {type(value).__name__}"


def _quote_cure(value: Any) -> str:
    plain = value is not None and not isinstance(value, (str, dict, list))
    return "; quote it" if plain else ""


def _special(found: Address) -> str | None:
    for problem, holds in (
        ("unspecified", found.is_unspecified),
        ("a loopback address", found.is_loopback),
        ("a multicast address", found.is_multicast),
        ("a link-local address", found.is_link_local),
    ):
        if holds:
            return problem
    return None
