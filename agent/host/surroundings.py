"""Forwarding and our firewall tables, of which each network namespace has its own.

Job: the right ones for a namespace, and no memory of one that is gone. Refuses to know devices. Called by
host.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional

from agent.bundle import Gateway
from agent.egress import Guard
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.switch import RUN
from agent.netns import NamespaceError, identity, within
from agent.report import ObservedFirewall

NAMED = RUN / "netns"


class _Parts(NamedTuple):
    identity: Optional[tuple[int, int]]
    forwarding: Forwarding
    firewall: Firewall


class Surroundings:
    """`forwarding` and `firewall` are the agent's own namespace's; below `run` others have their memory."""

    def __init__(self, forwarding: Forwarding, firewall: Firewall, run: Path = NAMED) -> None:
        self._own = _Parts(None, forwarding, firewall)
        self._named: dict[str, _Parts] = {}
        self._run = run

    def forwards(self, spaces: Iterable[Optional[str]], wanted: bool) -> bool:
        """Whether IP is forwarded in all of them that are there, or, where it is not `wanted`, in any."""
        found = []
        for netns in spaces:
            try:
                found.append(within(netns, self._parts(netns).forwarding.is_on))
            except NamespaceError:
                continue
        return bool(found) and (all(found) if wanted else any(found))

    def forwards_for_us(self, spaces: Iterable[Optional[str]]) -> bool:
        """Whether forwarding was switched on by us in one of them, and not off since."""
        for netns in spaces:
            try:
                if self._parts(netns).forwarding.is_ours():
                    return True
            except NamespaceError:
                continue
        return False

    def switch_forwarding(self, spaces: Iterable[Optional[str]], on: bool) -> None:
        """Where they are there. Raises HostError."""
        for netns in spaces:
            try:
                forwarding = self._parts(netns).forwarding
                within(netns, forwarding.switch_on if on else forwarding.switch_off)
            except NamespaceError:
                continue

    def firewalls(self, interfaces: Mapping[Optional[str], Iterable[str]]) -> tuple[ObservedFirewall, ...]:
        """The tables of these interfaces, by namespace, and others that were written there.

        Raises HostError.
        """
        found: list[ObservedFirewall] = []
        for netns, names in interfaces.items():
            try:
                observe = self._parts(netns).firewall.observe
                here = within(netns, partial(observe, list(names)))
            except NamespaceError:
                continue
            found += [replace(seen, netns=netns) for seen in here]
        return tuple(found)

    def write_firewall(
        self, interface: str, gateway: Optional[Gateway], guard: Optional[Guard], netns: Optional[str]
    ) -> None:
        """Raises HostError, NamespaceError."""
        firewall = self._parts(netns).firewall
        within(netns, lambda: firewall.write(interface, gateway, guard))

    def remove_firewall(self, interface: str, netns: Optional[str]) -> None:
        """Raises HostError, NamespaceError."""
        firewall = self._parts(netns).firewall
        within(netns, lambda: firewall.remove(interface))

    def _parts(self, netns: Optional[str]) -> _Parts:
        """Raises NamespaceError."""
        if netns is None:
            return self._own
        now = identity(netns)
        known = self._named.get(netns)
        folder = self._run / netns
        if now is None or (known is not None and known.identity != now):
            self._named.pop(netns, None)
            shutil.rmtree(folder, ignore_errors=True)
            known = None
        if now is None:
            raise NamespaceError(netns)
        if known is None:
            known = self._named[netns] = _Parts(now, Forwarding(run=folder), Firewall(folder))
        return known
