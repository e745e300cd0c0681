"""A host without a kernel: devices come and go in memory, so that what the agent does can be watched.

`converge` here compares names, MTU and peers only: tests put it in place of agent.converge's where they
ask in which order the agent does things and not what differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

from agent.bundle import Bundle, Interface, Peer
from agent.host.errors import HostError
from agent.netns import Place
from agent.operations import AddInterface, RemoveInterface, SetLink, SetPeer, Step
from agent.report import Change, Observed, ObservedInterface, ObservedPeer
from agent.secret import Secrets


def converge(bundle: Bundle, observed: Observed, previous: Optional[Bundle]) -> tuple[Step, ...]:
    steps = []
    seen = {interface.name: interface for interface in observed.interfaces}
    for wanted in bundle.interfaces:
        found = seen.pop(wanted.name, None)
        if found is None or not found.answers:
            operation = AddInterface(wanted.name, wanted.backend)
            steps.append(Step(Change("interface", wanted.name, "add"), operation))
        if found is None or wanted.mtu not in (None, found.mtu) or _keys(found.peers) != _keys(wanted.peers):
            change = Change("interface", wanted.name, "change")
            steps.append(Step(change, SetLink(wanted.name, mtu=wanted.mtu)))
    return (*steps, *(Step(Change("interface", name, "remove"), RemoveInterface(name)) for name in seen))


def _keys(peers: Iterable[Union[Peer, ObservedPeer]]) -> list[str]:
    return [peer.public_key for peer in peers]


@dataclass
class FakeHost:
    """`events` is everything that happened, in order; `failing` names interfaces that cannot be changed."""

    devices: dict[str, Interface] = field(default_factory=dict)
    indexes: dict[str, int] = field(default_factory=dict)
    peers: dict[str, ObservedPeer] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    blind: Optional[str] = None
    dies_at_once: bool = False
    hanging: set[str] = field(default_factory=set)
    bundle: Optional[Bundle] = None
    names: dict[str, Optional[str]] = field(default_factory=dict)
    fits: int = 1420
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        if self.blind is not None:
            raise HostError(self.blind)
        self.bundle = bundle
        looked_at = {place.interface for place in made}
        looked_at |= {interface.name for interface in (bundle.interfaces if bundle else ())}
        return Observed(
            tuple(
                ObservedInterface(
                    device.name,
                    "userspace",
                    True,
                    device.mtu or 1420,
                    peers=tuple(
                        self.peers.get(p.public_key, ObservedPeer(p.public_key)) for p in device.peers
                    ),
                    answers=device.name not in self.hanging,
                )
                for device in self.devices.values()
                if device.name in looked_at
            ),
        )

    def fitting(self, bundle: Bundle, observed: Observed) -> dict[str, int]:
        return {
            one.name: self.fits for one in bundle.interfaces if one.mtu is None and one.name in self.devices
        }

    def look_up(self, endpoint: str) -> Optional[str]:
        """An endpoint that is not among `names` has no address; None there: nobody has answered yet."""
        if endpoint not in self.names:
            raise HostError(f"{endpoint} does not resolve")
        return self.names[endpoint]

    def execute(self, step: Step, secrets: Secrets) -> None:
        operation = step.operation
        assert isinstance(operation, (AddInterface, SetLink, RemoveInterface, SetPeer))
        name = operation.interface
        if name in self.failing:
            self.events.append(f"failed {name}")
            raise HostError(f"{name}: it cannot be done")
        self.events.append(f"{step.change.action} {name}")
        if isinstance(operation, RemoveInterface):
            self.lose(name)
            return
        if isinstance(operation, SetPeer):
            self.peers[operation.public_key] = ObservedPeer(operation.public_key, endpoint=operation.endpoint)
            return
        assert self.bundle is not None
        self.devices[name] = next(wanted for wanted in self.bundle.interfaces if wanted.name == name)
        assert self.devices[name].private_key in secrets
        if isinstance(operation, AddInterface):
            self.hanging.discard(name)
            self.devices[name] = replace(self.devices[name], mtu=576, peers=())
            self.indexes[name] = next(self._numbers)
        elif self.dies_at_once:
            self.lose(name)
        elif operation.mtu is not None:
            self.devices[name] = replace(self.devices[name], mtu=operation.mtu)

    def lose(self, name: str) -> None:
        """The device goes away, as when its process is killed."""
        del self.devices[name]
        del self.indexes[name]

    def look(self, places: Iterable[Place]) -> dict[str, Optional[int]]:
        """In place of agent.watch.indexes."""
        return {place.interface: self.indexes.get(place.interface) for place in places}
