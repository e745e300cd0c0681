"""From what should be and what is to the ordered steps between them. Pure; no steps means converged.

Job: say what differs, and in which order to mend it so that no session dies and no prefix is without
an owner on the way: everything is added before anything is removed, AllowedIPs are handed over by
adding them to their new peer (which takes them from the old one), a peer that did not change is not
touched. Refuses to know how a step is done. Called by resident.engine, and by the controller, which
computes the same from a report.
"""

from __future__ import annotations

from typing import Optional

from agent.bundle import Bundle
from agent.converge import device, egress, firewall, network, peers
from agent.converge.words import step
from agent.operations import SetLink, SetRoute, Step
from agent.report import Observed, ObservedInterface


def converge(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> tuple[Step, ...]:
    """The steps from `observed` to `bundle`, in the order in which they are safe.

    `previous` is the bundle that the host was last brought to. It tells an endpoint that the operator
    changed from one that roamed: an endpoint differs where the device has none, or where it is not what
    `previous` says for that peer. Forwarding is switched off where `previous` wanted it only, and no other
    fleet of the host does.
    Interfaces that were observed and are not in the bundle are removed last. Firewall tables come before
    everything and go after it: no packet is passed on without one that had it or will have it, for a
    connection that begins without masquerade never gets it. Packets are led into a full tunnel once it is
    complete, and out of it before anything else happens.
    """
    present = {interface.name: interface for interface in observed.interfaces}
    before = {interface.name: interface for interface in (previous.interfaces if previous else ())}
    routed = {network.place(route) for interface in observed.interfaces for route in interface.routes}
    adding: list[Step] = []
    removing: list[Step] = []
    for wanted in sorted(
        bundle.interfaces, key=lambda wanted: device.is_misfit(wanted, present.get(wanted.name))
    ):
        actual = present.get(wanted.name)
        if actual is None or device.is_misfit(wanted, actual):
            adding.append(device.made(wanted, actual))
            actual = ObservedInterface(wanted.name, "kernel", up=False, mtu=0, netns=wanted.netns)
        adding += device.set_up(wanted, actual)
        adding += peers.added(wanted, actual, before.get(wanted.name))
        adding += network.added_addresses(wanted, actual)
        if not actual.up:
            adding.append(
                step("interface", f"{wanted.name} link", "up", "down", SetLink(wanted.name, up=True))
            )
        adding += network.added_routes(wanted, actual, routed)
        removing += network.removed_addresses(wanted, actual)
        removing += peers.removed(wanted, actual, before.get(wanted.name))
    rerouted = {
        network.place(step.operation.route) for step in adding if isinstance(step.operation, SetRoute)
    }
    stale = [
        step for wanted in bundle.interfaces for step in network.removed_routes(wanted, present, rerouted)
    ]
    named = {interface.name for interface in bundle.interfaces}
    gone = [device.removed(interface) for interface in observed.interfaces if interface.name not in named]
    return (
        *egress.left(bundle, observed, previous),
        *firewall.opened(bundle, observed),
        *adding,
        *network.forwarding(bundle, observed, previous),
        *egress.entered(bundle, observed, previous),
        *stale,
        *removing,
        *gone,
        *egress.closed(bundle, observed, previous),
        *firewall.closed(bundle, observed),
    )
