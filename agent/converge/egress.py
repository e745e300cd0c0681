"""Full tunnels: who is led into one, and by which rules. Pure. Called by converge.

Rules come last of what is added and go first of all: without them, whatever else of a full tunnel is there
moves no packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from agent import egress
from agent.bundle import Bundle, Interface
from agent.converge.words import change, step
from agent.egress import Rule
from agent.operations import AddRule, RemoveRule, SetMarkValidation, Step
from agent.report import Observed


def left(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> Iterator[Step]:
    """Out of tunnels that nobody wants any more, or that another interface is to be.

    Last of all go the rules that come first: they keep the host's own networks out of the tunnel.
    """
    before = _by_rule(previous)
    for rule in sorted(_unwanted(bundle, observed, previous), key=lambda rule: -rule.priority):
        was = before.get(rule)
        item = str(rule) if was is None else f"{was.name} {rule}"
        deed = str(rule) if was is None else _deed(was)
        yield step("egress", item, None, deed, RemoveRule(rule))


def entered(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> Iterator[Step]:
    """Reverse path filters are told of marks, then packets are led into the tunnel."""
    if _validates(bundle) and not observed.marks_validated:
        yield change("egress", "src_valid_mark", "change", True, False, SetMarkValidation(True))
    present = set(observed.rules) - set(_unwanted(bundle, observed, previous))
    for rule, interface in _by_rule(bundle).items():
        if rule not in present:
            peer = egress.way_out(interface)
            operation = AddRule(interface.name, rule, "" if peer is None else peer.public_key)
            yield step("egress", f"{interface.name} {rule}", _deed(interface), None, operation)


def closed(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> Iterator[Step]:
    """Reverse path filters are as they were."""
    if observed.marks_validated and previous and _validates(previous) and not _validates(bundle):
        yield change("egress", "src_valid_mark", "remove", False, True, SetMarkValidation(False))


def _unwanted(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> list[Rule]:
    wanted, before = _by_rule(bundle), _by_rule(previous)
    return [
        rule
        for rule in observed.rules
        if rule not in wanted or (rule in before and before[rule].name != wanted[rule].name)
    ]


def _by_rule(bundle: Optional[Bundle]) -> dict[Rule, Interface]:
    """The rules of a bundle's full tunnels, in their order."""
    return {
        rule: interface
        for interface in (bundle.interfaces if bundle else ())
        for rule in egress.rules(interface)
    }


def _validates(bundle: Bundle) -> bool:
    """IPv6 has no such setting."""
    return any(4 in egress.versions(interface) for interface in bundle.interfaces)


def _deed(interface: Interface) -> str:
    peer = egress.way_out(interface)
    return "everything" if peer is None else f"everything via {peer.name}"
