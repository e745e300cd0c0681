"""Our firewall tables, one an interface. Pure. Called by converge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from agent import egress
from agent.bundle import Bundle, Gateway
from agent.converge.words import step
from agent.egress import Guard
from agent.operations import RemoveFirewall, SetFirewall, Step
from agent.report import Observed, ObservedFirewall


def opened(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    present = {(seen.interface, seen.netns): seen for seen in observed.firewalls}
    for interface in bundle.interfaces:
        name, netns = interface.name, interface.netns
        gateway, guard = interface.gateway, egress.guard(interface)
        seen = present.get((name, netns))
        wanted = ObservedFirewall(name, gateway, guard=guard, netns=netns)
        if (gateway is None and guard is None) or seen == wanted:
            continue
        found = None if seen is None else _found(seen)
        yield step("firewall", name, _deeds(gateway, guard), found, SetFirewall(name, gateway, guard, netns))


def closed(bundle: Bundle, observed: Observed) -> Iterator[Step]:
    wanted = {
        (interface.name, interface.netns)
        for interface in bundle.interfaces
        if interface.gateway is not None or egress.guard(interface) is not None
    }
    for seen in observed.firewalls:
        if (seen.interface, seen.netns) not in wanted:
            operation = RemoveFirewall(seen.interface, seen.netns)
            yield step("firewall", seen.interface, None, _found(seen), operation)


def _found(seen: ObservedFirewall) -> list[str]:
    deeds = _deeds(seen.gateway, seen.guard)
    return [*deeds, *([] if seen.altered is None else [f"but {seen.altered}"])]


def _deeds(gateway: Optional[Gateway], guard: Optional[Guard]) -> list[str]:
    deeds = ["MSS clamp"] if gateway is not None and gateway.clamp_mss else []
    if gateway is not None and gateway.masquerade:
        deeds.append(f"masquerade to {' '.join(gateway.masquerade)} from {' '.join(gateway.sources)}")
    if guard is not None:
        deeds.append(f"guard of {' '.join(guard.addresses)} (mark {guard.mark})")
    return deeds
