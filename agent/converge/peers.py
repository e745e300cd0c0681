"""Peers: whoever is new or changed, then whoever goes. Pure. Called by converge.

AllowedIPs are handed over by adding them to their new peer, which takes them from the old one; a peer that
did not change is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from agent.bundle import Interface, Peer
from agent.converge.words import change, named, step
from agent.operations import RemoveAllowedIPs, RemovePeer, SetPeer, Step
from agent.report import ObservedInterface, ObservedPeer


def added(wanted: Interface, actual: ObservedInterface, before: Optional[Interface]) -> Iterator[Step]:
    """Peers to make, and what to change of those that are there; `before`: as it was last brought to."""
    present = {peer.public_key: peer for peer in actual.peers}
    endpoints = {peer.public_key: peer.endpoint for peer in (before.peers if before else ())}
    for peer in wanted.peers:
        seen = present.get(peer.public_key)
        if seen is None:
            yield _new_peer(wanted.name, peer)
        else:
            yield from _changed_peer(wanted.name, peer, seen, endpoints)


def _new_peer(interface: str, peer: Peer) -> Step:
    operation = SetPeer(
        interface,
        peer.name,
        peer.public_key,
        new=True,
        preshared_key=peer.preshared_key,
        endpoint=peer.endpoint,
        persistent_keepalive=peer.persistent_keepalive,
        allowed_ips=peer.allowed_ips,
    )
    return step("peer", f"{interface} peer {peer.name}", list(peer.allowed_ips), None, operation)


def _changed_peer(
    interface: str, peer: Peer, seen: ObservedPeer, endpoints: dict[str, Optional[str]]
) -> Iterator[Step]:
    item = f"{interface} peer {peer.name}"

    def differs(field: str, expected: Any, actual: Any, **what: Any) -> Step:
        operation = SetPeer(interface, peer.name, peer.public_key, **what)
        return change("peer", f"{item} {field}", "change", expected, actual, operation)

    if peer.preshared_key != seen.preshared_key:
        expected, found = named(peer.preshared_key), named(seen.preshared_key)
        no_key = peer.preshared_key is None
        yield differs(
            "preshared_key", expected, found, preshared_key=peer.preshared_key, no_preshared_key=no_key
        )
    if _endpoint_differs(peer, seen, endpoints):
        yield differs("endpoint", peer.endpoint, seen.endpoint, endpoint=peer.endpoint)
    if peer.persistent_keepalive != seen.persistent_keepalive:
        keepalive = peer.persistent_keepalive
        yield differs(
            "persistent_keepalive", keepalive, seen.persistent_keepalive, persistent_keepalive=keepalive
        )
    missing = tuple(prefix for prefix in peer.allowed_ips if prefix not in seen.allowed_ips)
    if missing:
        operation = SetPeer(interface, peer.name, peer.public_key, allowed_ips=missing)
        yield step("peer", f"{item} allowed_ips", list(missing), None, operation)


def called_at(interface: str, peer: Peer, endpoint: str, seen: Optional[str]) -> Step:
    """Has a peer called at an address that the bundle does not say; `seen`: where it is called now."""
    operation = SetPeer(interface, peer.name, peer.public_key, endpoint=endpoint)
    return step("peer", f"{interface} peer {peer.name} endpoint", endpoint, seen, operation)


def _endpoint_differs(peer: Peer, seen: ObservedPeer, endpoints: dict[str, Optional[str]]) -> bool:
    """Whether the operator wants another endpoint; one that a peer took by itself is none of our business."""
    if peer.endpoint is None or peer.endpoint == seen.endpoint:
        return False
    return seen.endpoint is None or endpoints.get(peer.public_key) != peer.endpoint


def removed(wanted: Interface, actual: ObservedInterface, before: Optional[Interface]) -> Iterator[Step]:
    """Peers that nobody wants, and before them prefixes that nobody wants from peers that stay."""
    names = {peer.public_key: peer.name for peer in (before.peers if before else ())}
    names.update((peer.public_key, peer.name) for peer in wanted.peers)
    staying = {peer.public_key for peer in wanted.peers}
    owned = {prefix for peer in wanted.peers for prefix in peer.allowed_ips}
    for seen in actual.peers:
        extra = tuple(prefix for prefix in seen.allowed_ips if prefix not in owned)
        if seen.public_key in staying and extra:
            name = names[seen.public_key]
            drop = RemoveAllowedIPs(wanted.name, name, seen.public_key, extra)
            yield step("peer", f"{wanted.name} peer {name} allowed_ips", None, list(extra), drop)
    for seen in actual.peers:
        if seen.public_key not in staying:
            name = names.get(seen.public_key, seen.public_key)
            remove = RemovePeer(wanted.name, name, seen.public_key)
            yield step("peer", f"{wanted.name} peer {name}", None, list(seen.allowed_ips), remove)
