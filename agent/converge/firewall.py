"""Our firewall tables, one an interface. Pure. Called by converge."""

from __future__ import annotations

from collections.abc import Iterator

from agent.bundle import Bundle, Gateway
from agent.converge.words import step
from agent.operations import RemoveGateway, SetGateway, Step
from agent.report import Observed, ObservedGateway


def opened(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    present = {seen.interface: seen for seen in observed.gateways}
    for interface in bundle.interfaces:
        wanted, seen = interface.gateway, present.get(interface.name)
        if wanted is None or seen == ObservedGateway(interface.name, wanted):
            continue
        found = None if seen is None else _found(seen)
        yield step("firewall", interface.name, _deeds(wanted), found, SetGateway(interface.name, wanted))


def closed(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    wanted = {interface.name for interface in bundle.interfaces if interface.gateway is not None}
    for seen in observed.gateways:
        if seen.interface not in wanted:
            yield step("firewall", seen.interface, None, _found(seen), RemoveGateway(seen.interface))


def _found(seen: ObservedGateway) -> list[str]:
    deeds = [] if seen.gateway is None else _deeds(seen.gateway)
    return [*deeds, *([] if seen.altered is None else [f"but {seen.altered}"])]


def _deeds(gateway: Gateway) -> list[str]:
    deeds = ["MSS clamp"] if gateway.clamp_mss else []
    if gateway.masquerade:
        deeds.append(f"masquerade to {' '.join(gateway.masquerade)} from {' '.join(gateway.sources)}")
    return deeds
