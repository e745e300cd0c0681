"""Where peers were last that nobody knows how to call: endpoints that a device learned from their packets.

A device that is made anew has lost them, and peers behind NAT send into sessions that are gone for 15 s
(KEEPALIVE_TIMEOUT + REKEY_TIMEOUT), without traffic for 2 min, before they call. The way in through their
NAT is open meanwhile, so we call them. Pure: follow, and say what a device lacks. Called by engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.bundle import Bundle, split_endpoint
from agent.converge.peers import called_at
from agent.operations import Step
from agent.report import Observed
from agent.resident.health import PeerKey, met, peers_of

Endpoints = dict[PeerKey, str]


def follow(learned: Endpoints, bundle: Bundle, observed: Observed) -> Endpoints:
    """What is known after one more observation, of the peers alone whose endpoint the bundle does not say."""
    present = peers_of(observed)
    found = {}
    for interface in bundle.interfaces:
        for peer in interface.peers:
            key = (interface.name, peer.public_key)
            seen = present[key].endpoint if key in present else None
            endpoint = seen or learned.get(key)
            if peer.endpoint is None and endpoint is not None:
                found[key] = endpoint
    return found


def lacking(learned: Endpoints, bundle: Bundle, observed: Observed) -> tuple[Step, ...]:
    """The steps that tell a device the endpoints which it does not know."""
    return tuple(
        called_at(interface.name, peer, learned[key], None)
        for key, interface, peer, seen in met(bundle, observed)
        if key in learned and seen.endpoint is None
    )


def to_json(learned: Mapping[PeerKey, str]) -> list[list[str]]:
    """Plain values; `from_json` reads them back."""
    return [[interface, key, endpoint] for (interface, key), endpoint in sorted(learned.items())]


def from_json(value: object) -> Endpoints:
    """Raises ValueError for what `to_json` does not make."""
    if not isinstance(value, list):
        raise ValueError("expected a list")
    found = {}
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(x, str) for x in entry):
            raise ValueError("expected lists of three strings")
        interface, key, endpoint = entry
        split_endpoint(endpoint)
        found[interface, key] = endpoint
    return found
