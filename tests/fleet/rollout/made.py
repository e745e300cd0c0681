"""Bundles, reports and hosts for tests of rollout."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import report as reports
from agent.bundle import Bundle, Interface, Peer, Route
from agent.report import Link, Observed, ObservedFirewall, ObservedInterface, ObservedPeer, Report
from agent.secret import SecretRef
from fleet.errors import Location
from fleet.inventory.model import Connection, Host

FLEET = "f" * 32
RELEASE = "ab" * 32
KEY = SecretRef("key/1", 1)


def public_key(letter: str) -> str:
    return base64.b64encode(letter.encode() * 32).decode()


def bundle(host: str = "fra1", revision: int = 3, **interface: Any) -> Bundle:
    """One interface, one peer."""
    values: dict[str, Any] = {
        "name": "wg0",
        "backend": "auto",
        "private_key": KEY,
        "public_key": public_key("a"),
        "listen_port": 51820,
        "mtu": 1420,
        "addresses": ("10.77.0.1/32",),
        "peers": (Peer("oslo", public_key("b"), None, None, ("10.77.0.2/32",)),),
        "routes": (Route("10.77.0.2/32"),),
    }
    return Bundle(1, FLEET, "acme", host, revision, (Interface(**{**values, **interface}),))


def observed(held: Bundle) -> Observed:
    """A network that is exactly what a bundle says."""
    return Observed(
        tuple(
            ObservedInterface(
                name=interface.name,
                backend="userspace",
                up=True,
                mtu=interface.mtu or 1420,
                private_key=interface.private_key,
                public_key=interface.public_key,
                listen_port=interface.listen_port,
                fwmark=interface.fwmark,
                addresses=interface.addresses,
                peers=tuple(
                    ObservedPeer(
                        public_key=peer.public_key,
                        preshared_key=peer.preshared_key,
                        endpoint=peer.endpoint,
                        allowed_ips=peer.allowed_ips,
                        persistent_keepalive=peer.persistent_keepalive,
                    )
                    for peer in interface.peers
                ),
                routes=interface.routes,
            )
            for interface in held.interfaces
        ),
        forwarding=held.forwarding,
        firewalls=tuple(
            ObservedFirewall(interface.name, interface.gateway)
            for interface in held.interfaces
            if interface.gateway is not None
        ),
    )


def report(wanted: Bundle, **values: Any) -> Report:
    """The report of a host that is exactly what `wanted` says, unless `values` say otherwise."""
    base = Report(
        version=reports.VERSION,
        release=RELEASE,
        host=wanted.host,
        fleet=wanted.fleet,
        fleet_name=wanted.fleet_name,
        revision=wanted.revision,
        digest=wanted.digest(),
        secrets=(KEY,),
        observed=observed(wanted),
        pending=(),
        links=(Link("wg0", "oslo", "up", 3, "192.0.2.9:51820", 1, 2),),
        problems=(),
        restarts={},
        time=1.7e9,
    )
    return replace(base, **values)


def host(name: str = "fra1") -> Host:
    return Host(
        name=name,
        groups=(),
        connection=Connection("ssh", "192.0.2.1"),
        addresses=(),
        subnets=(),
        endpoint=None,
        nat=False,
        transit=False,
        interface="wg0",
        listen_port=51820,
        mtu=1420,
        backend="auto",
        self_heal=False,
        where=Location(Path("inventory.yml"), 1, 1),
    )
