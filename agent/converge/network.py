"""Addresses, routes and forwarding. Pure. Called by converge."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Optional

from agent.bundle import Bundle, Interface, Route
from agent.converge.device import is_misfit
from agent.converge.words import change, step
from agent.operations import AddAddress, RemoveAddress, RemoveRoute, SetForwarding, SetRoute, Step
from agent.report import Observed, ObservedInterface

Place = tuple[str, Optional[int]]
"""A destination, and the table that it is in."""


def added_addresses(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    present = _canonical(actual.addresses)
    for address in _canonical(wanted.addresses):
        if address not in present:
            operation = AddAddress(wanted.name, address)
            yield step("address", f"{wanted.name} {address}", address, None, operation)


def removed_addresses(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    """Link-local addresses that nobody wants are the kernel's own."""
    keep = _canonical(wanted.addresses)
    for address in _canonical(actual.addresses):
        if address not in keep and not ipaddress.ip_interface(address).is_link_local:
            operation = RemoveAddress(wanted.name, address)
            yield step("address", f"{wanted.name} {address}", None, address, operation)


def _canonical(addresses: Iterable[str]) -> dict[str, None]:
    """The addresses, each written in one way, in their order."""
    return dict.fromkeys(str(ipaddress.ip_interface(address)) for address in addresses)


def place(route: Route) -> Place:
    """What no two routes have in common."""
    return route.destination, route.table


def added_routes(wanted: Interface, actual: ObservedInterface, routed: set[Place]) -> Iterator[Step]:
    present = {place(route): route for route in actual.routes}
    for route in wanted.routes:
        if present.get(place(route)) == route:
            continue
        item = f"{wanted.name} {route.destination}"
        operation = SetRoute(wanted.name, route, instead=place(route) in routed)
        if operation.instead:
            here = present.get(place(route))
            where = _described(here) if here else "another interface of the fleet"
            yield change("route", item, "change", _described(route), where, operation)
        else:
            yield step("route", item, _described(route), None, operation)


def removed_routes(
    wanted: Interface, present: dict[str, ObservedInterface], rerouted: set[Place]
) -> Iterator[Step]:
    """A destination that was routed anew is gone from where it was."""
    actual = present.get(wanted.name)
    if actual is None or is_misfit(wanted, actual):
        return
    keep = {place(route) for route in wanted.routes} | rerouted
    for route in actual.routes:
        if place(route) not in keep:
            operation = RemoveRoute(wanted.name, route)
            item = f"{wanted.name} {route.destination}"
            yield step("route", item, None, _described(route), operation)


def _described(route: Route) -> str:
    words = route.destination if route.table is None else f"{route.destination} in table {route.table}"
    return words if route.source is None else f"{words} from {route.source}"


def forwarding(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> Iterator[Step]:
    if bundle.forwarding and not observed.forwarding:
        yield change("forwarding", "ip forwarding", "change", True, False, SetForwarding(True))
    if observed.forwarding_left and "forwarding" not in observed.shared:
        left = SetForwarding(False, left=True)
        yield change("forwarding", "ip forwarding where it was", "remove", False, True, left)
    if observed.forwarding and not bundle.forwarding and previous is not None and previous.forwarding:
        if "forwarding" in observed.shared:
            return
        yield change("forwarding", "ip forwarding", "remove", False, True, SetForwarding(False))
