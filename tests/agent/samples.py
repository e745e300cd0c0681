"""Bundles, keys and observations for the tests of the agent's resident part."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Optional

from agent.bundle import Bundle, Interface, Peer, Route
from agent.report import Observed, ObservedInterface, ObservedPeer
from agent.secret import Secret, SecretRef, Secrets

FLEET = "ab" * 16
OTHER_FLEET = "cd" * 16


def key(number: int) -> str:
    """The base64 of 32 equal bytes."""
    return base64.b64encode(bytes([number]) * 32).decode()


def peer(number: int, **fields: Any) -> Peer:
    defaults: dict[str, Any] = {
        "name": f"host{number}",
        "public_key": key(number),
        "preshared_key": SecretRef(f"psk/1~{number}", 1),
        "endpoint": f"192.0.2.{number}:51820",
        "allowed_ips": (f"10.77.0.{number}/32",),
        "addresses": (f"10.77.0.{number}",),
    }
    return Peer(**{**defaults, **fields})


def interface(name: str = "wg0", peers: Iterable[Peer] = (), **fields: Any) -> Interface:
    defaults: dict[str, Any] = {
        "name": name,
        "backend": "userspace",
        "private_key": SecretRef("key/1", 1),
        "public_key": key(1),
        "listen_port": 51820,
        "mtu": 1420,
        "addresses": ("10.77.0.1/32",),
        "peers": tuple(peers),
        "routes": (Route("10.77.0.0/16"),),
    }
    return Interface(**{**defaults, **fields})


def bundle(revision: int = 1, interfaces: Optional[Iterable[Interface]] = None, **fields: Any) -> Bundle:
    defaults: dict[str, Any] = {
        "version": 1,
        "fleet": FLEET,
        "fleet_name": "acme",
        "host": "host1",
        "revision": revision,
        "interfaces": (interface(peers=(peer(2),)),) if interfaces is None else tuple(interfaces),
    }
    return Bundle(**{**defaults, **fields})


def other(name: str = "wg1", revision: int = 1, **fields: Any) -> Bundle:
    """Of another fleet; it collides with no other sample, unless `fields` of its interface do."""
    values: dict[str, Any] = {
        "listen_port": 51821,
        "addresses": ("10.88.0.1/32",),
        "routes": (Route("10.88.0.0/16"),),
        "peers": (peer(4, addresses=("10.88.0.4",), allowed_ips=("10.88.0.4/32",)),),
    }
    wanted = interface(name, **{**values, **fields})
    return bundle(revision, [wanted], fleet=OTHER_FLEET, fleet_name="beta")


def secrets(refs: Iterable[SecretRef], value: int = 7) -> Secrets:
    return Secrets((ref, Secret(bytes([value]) * 32)) for ref in refs)


def secrets_of(wanted: Bundle, value: int = 7) -> Secrets:
    """Just the secrets that the bundle needs."""
    return secrets(wanted.secret_refs(), value)


def observed(wanted: Bundle, *seen: ObservedPeer, up: bool = True) -> Observed:
    """The bundle's first interface with these peers on it."""
    first = wanted.interfaces[0]
    return Observed((ObservedInterface(first.name, "userspace", up, first.mtu or 1420, peers=tuple(seen)),))
