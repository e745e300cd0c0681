"""One host's network: observed as a report says it, changed as converge asks for it.

Job: hand each operation to the part that does it, and turn what fails into sentences for people. Refuses to
decide what should be changed. Called by resident.engine.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from agent import egress
from agent.bundle import Bundle, Interface, join_endpoint
from agent.egress import Rule
from agent.host.device import Device, DeviceEdit, PeerEdit, SocketAddress
from agent.host.devices import Devices
from agent.host.errors import HostError, SilentError
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.kernel import KernelDevice
from agent.host.keys import KeyNames
from agent.host.mtu import fitting
from agent.host.network import Network
from agent.host.reasons import sentence, why
from agent.host.resolve import ResolveError, Resolver
from agent.host.rules import Rules
from agent.host.surroundings import NAMED, Surroundings
from agent.host.switch import MarkValidation
from agent.host.tunnel import Spawn, Tunnels
from agent.host.userspace import UserspaceDevice
from agent.netns import NamespaceError, Place
from agent.operations import (
    AddAddress,
    AddInterface,
    AddRule,
    RemoveAddress,
    RemoveAllowedIPs,
    RemoveFirewall,
    RemoveInterface,
    RemovePeer,
    RemoveRoute,
    RemoveRule,
    SetDevice,
    SetFirewall,
    SetForwarding,
    SetLink,
    SetMarkValidation,
    SetPeer,
    SetRoute,
    Step,
)
from agent.report import Observed, ObservedInterface
from agent.secret import SecretRef, Secrets

_NO_KEY = bytes(32)


class Host:
    """`spawn` starts the tunnel process of an interface, detached; the rest stands for this host's parts."""

    def __init__(
        self,
        spawn: Spawn,
        *,
        network: Optional[Network] = None,
        kernel: Optional[Device] = None,
        userspace: Optional[UserspaceDevice] = None,
        forwarding: Optional[Forwarding] = None,
        firewall: Optional[Firewall] = None,
        rules: Optional[Rules] = None,
        mark_validation: Optional[MarkValidation] = None,
        resolver: Optional[Resolver] = None,
        run: Path = NAMED,
    ) -> None:
        self._network = network or Network()
        userspace = userspace or UserspaceDevice()
        tunnels = Tunnels(spawn, userspace)
        self._devices = Devices(self._network, kernel or KernelDevice(), userspace, tunnels)
        self._surroundings = Surroundings(forwarding or Forwarding(), firewall or Firewall(), run)
        self._rules = rules or Rules()
        self._mark_validation = mark_validation or MarkValidation()
        self._resolver = resolver or Resolver()
        self._wanted: tuple[Optional[str], ...] = (None,)
        self._left: tuple[Optional[str], ...] = ()
        """The namespaces that the last bundle names (without any, where it was), and others where it was."""
        self._do: dict[type[Any], Any] = {
            AddInterface: self._add_interface,
            RemoveInterface: self._remove_interface,
            SetLink: self._set_link,
            SetDevice: self._set_device,
            SetPeer: self._set_peer,
            RemoveAllowedIPs: self._remove_allowed_ips,
            RemovePeer: self._remove_peer,
            AddAddress: self._add_address,
            RemoveAddress: self._remove_address,
            SetRoute: self._set_route,
            RemoveRoute: self._remove_route,
            SetForwarding: self._set_forwarding,
            SetFirewall: self._set_firewall,
            RemoveFirewall: self._remove_firewall,
            SetMarkValidation: self._set_mark_validation,
            AddRule: self._add_rule,
            RemoveRule: self._remove_rule,
        }

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        """The WireGuard devices that `bundle` names, or that were `made`, as they are; keys as references.

        One that should be elsewhere by now is told of where it is still.

        A device whose tunnel process is dead is none; of one that does not answer, what the kernel knows is
        told. Raises HostError.
        """
        try:
            return self._observe(bundle, secrets, made)
        except OSError as error:
            raise HostError(f"this host cannot be observed: {why(error.errno or 0)}") from error

    def _observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        keys = KeyNames(bundle, secrets)
        interfaces = () if bundle is None else bundle.interfaces
        spaces = _spaces(interfaces, made)
        present = self._devices.observe(spaces, keys)
        known = tuple(dict.fromkeys(netns for places in spaces.values() for netns in places)) or (None,)
        self._wanted = tuple(dict.fromkeys(one.netns for one in interfaces)) or known
        self._left = tuple(netns for netns in known if netns not in self._wanted)
        full = [one.name for one in egress.full_tunnels(bundle)]
        walled = [one for one in interfaces if one.gateway is not None or one.name in full]
        return Observed(
            interfaces=present,
            forwarding=self._surroundings.forwards(self._wanted, bundle is None or bundle.forwarding),
            firewalls=self._surroundings.firewalls(
                {netns: [one.name for one in walled if one.netns == netns] for netns in known}
            ),
            rules=self._observe_rules(),
            marks_validated=self._mark_validation.is_on() and (bool(full) or not self._rules.others_mark()),
            forwarding_left=self._surroundings.forwards_for_us(self._left),
        )

    def execute(self, step: Step, secrets: Secrets) -> None:
        """Does one step. Raises HostError."""
        operation = step.operation
        try:
            self._do[type(operation)](operation, secrets)
        except TimeoutError as error:
            raise SilentError(getattr(operation, "interface", "")) from error
        except NamespaceError as error:
            raise HostError(f"{getattr(operation, 'interface', 'forwarding')}: {error}") from error
        except OSError as error:
            raise HostError(sentence(operation, error)) from error

    def look_up(self, endpoint: str) -> Optional[str]:
        """The address that `endpoint` has now, with its port, as devices show it; None: ask again soon.

        Raises HostError where it has none.
        """
        try:
            found = self._resolver.look_up(endpoint)
        except ResolveError as error:
            raise HostError(f"endpoint {endpoint} does not resolve ({error})") from error
        if found is None:
            return None
        return join_endpoint(f"{found.ip}%{found.scope}" if found.scope else found.ip, found.port)

    def fitting(self, bundle: Bundle, observed: Observed) -> dict[str, int]:
        """The MTUs that fit the ways to peers, by the interfaces that are here and leave theirs to the host.

        Raises HostError.
        """
        here = {actual.name: actual for actual in observed.interfaces if actual.answers}
        free = [one for one in bundle.interfaces if one.mtu is None and one.name in here]
        try:
            return {one.name: self._fitting(one, here[one.name]) for one in free}
        except OSError as error:
            raise HostError(f"the ways to peers cannot be observed: {why(error.errno or 0)}") from error

    def _fitting(self, wanted: Interface, actual: ObservedInterface) -> int:
        """What goes to the peers leaves from our own namespace, wherever the interface is."""
        link = self._network.link(wanted.name) if actual.netns is None else None
        with self._network.paths(but=0 if link is None else link.index) as way:
            return fitting(wanted, actual, way)

    def _observe_rules(self) -> tuple[Rule, ...]:
        try:
            return self._rules.ours()
        except OSError as error:
            raise HostError(f"rules of routing policy cannot be observed: {why(error.errno or 0)}") from error

    def _add_interface(self, wanted: AddInterface, _secrets: Secrets) -> None:
        self._devices.make(wanted)

    def _remove_interface(self, unwanted: RemoveInterface, _secrets: Secrets) -> None:
        self._devices.remove(unwanted.interface)

    def _set_link(self, wanted: SetLink, _secrets: Secrets) -> None:
        name = wanted.interface
        self._devices.at(name, lambda network: network.set_link(name, wanted.mtu, wanted.up))

    def _set_device(self, wanted: SetDevice, secrets: Secrets) -> None:
        key = None if wanted.private_key is None else _reveal(wanted.interface, wanted.private_key, secrets)
        self._devices.write(wanted.interface, DeviceEdit(key, wanted.listen_port, wanted.fwmark))

    def _set_peer(self, wanted: SetPeer, secrets: Secrets) -> None:
        """A name that does not resolve leaves the peer without endpoint, and everything else done."""
        endpoint: Optional[SocketAddress] = None
        unresolved: Optional[ResolveError] = None
        if wanted.endpoint is not None:
            try:
                endpoint = self._resolver.resolve(wanted.endpoint)
            except ResolveError as error:
                unresolved = error
        preshared_key = _NO_KEY if wanted.no_preshared_key else None
        if wanted.preshared_key is not None:
            preshared_key = _reveal(wanted.interface, wanted.preshared_key, secrets)
        peer = PeerEdit(
            public_key=base64.b64decode(wanted.public_key),
            new=wanted.new,
            preshared_key=preshared_key,
            endpoint=endpoint,
            persistent_keepalive=wanted.persistent_keepalive,
            allowed_ips=wanted.allowed_ips,
        )
        self._devices.write(wanted.interface, DeviceEdit(peers=(peer,)))
        if unresolved is not None:
            raise HostError(
                f"{wanted.interface}: peer {wanted.name}: endpoint {wanted.endpoint} does not resolve "
                f"({unresolved}): mend the name or the host's resolver, then apply again"
            ) from unresolved

    def _remove_allowed_ips(self, unwanted: RemoveAllowedIPs, _secrets: Secrets) -> None:
        """A peer that exists for a moment takes the prefixes with it.

        So the peer's other prefixes stay where they are: to replace its whole list would leave it
        without any for an instant, and older devices know no other way.
        """
        taker = os.urandom(32)
        take = PeerEdit(taker, new=True, allowed_ips=unwanted.allowed_ips)
        self._devices.write(unwanted.interface, DeviceEdit(peers=(take, PeerEdit(taker, remove=True))))

    def _remove_peer(self, unwanted: RemovePeer, _secrets: Secrets) -> None:
        peer = PeerEdit(base64.b64decode(unwanted.public_key), remove=True)
        self._devices.write(unwanted.interface, DeviceEdit(peers=(peer,)))

    def _add_address(self, wanted: AddAddress, _secrets: Secrets) -> None:
        name, address = wanted.interface, wanted.address
        self._devices.at(name, lambda network: network.add_address(name, address))

    def _remove_address(self, unwanted: RemoveAddress, _secrets: Secrets) -> None:
        name, address = unwanted.interface, unwanted.address
        self._devices.at(name, lambda network: network.remove_address(name, address))

    def _set_route(self, wanted: SetRoute, _secrets: Secrets) -> None:
        name, destination = wanted.interface, wanted.route.destination
        owner = None
        if not wanted.instead:
            owner = self._devices.at(name, lambda network: network.owner(destination, but=name))
        if owner is not None:
            raise HostError(
                f"{wanted.interface}: {destination} is this host's own network on {owner}, which a route "
                "through the tunnel would cut off: renumber one of them, or take it out of fleet_subnets"
            )
        self._devices.at(name, lambda network: network.set_route(name, wanted.route, wanted.instead))

    def _remove_route(self, unwanted: RemoveRoute, _secrets: Secrets) -> None:
        name, route = unwanted.interface, unwanted.route
        self._devices.at(name, lambda network: network.remove_route(name, route))

    def _set_forwarding(self, wanted: SetForwarding, _secrets: Secrets) -> None:
        self._surroundings.switch_forwarding(self._left if wanted.left else self._wanted, wanted.on)

    def _set_firewall(self, wanted: SetFirewall, _secrets: Secrets) -> None:
        self._surroundings.write_firewall(wanted.interface, wanted.gateway, wanted.guard, wanted.netns)

    def _remove_firewall(self, unwanted: RemoveFirewall, _secrets: Secrets) -> None:
        self._surroundings.remove_firewall(unwanted.interface, unwanted.netns)

    def _set_mark_validation(self, wanted: SetMarkValidation, _secrets: Secrets) -> None:
        if wanted.on:
            self._mark_validation.switch_on()
        else:
            self._mark_validation.switch_off()

    def _add_rule(self, wanted: AddRule, _secrets: Secrets) -> None:
        self._rules.add(wanted.rule)

    def _remove_rule(self, unwanted: RemoveRule, _secrets: Secrets) -> None:
        self._rules.remove(unwanted.rule)


def _spaces(interfaces: Iterable[Interface], made: Iterable[Place]) -> dict[str, list[Optional[str]]]:
    """Where each interface may be: where it was made before first, where it is wanted last."""
    wanted = {one.name: one.netns for one in interfaces}
    spaces: dict[str, list[Optional[str]]] = {name: [] for name in wanted}
    for name, netns in made:
        if name not in wanted or wanted[name] != netns:
            spaces.setdefault(name, []).append(netns)
    for name, netns in wanted.items():
        spaces[name].append(netns)
    return spaces


def _reveal(interface: str, ref: SecretRef, secrets: Secrets) -> bytes:
    try:
        return secrets[ref].reveal()
    except KeyError:
        raise HostError(
            f"{interface}: the key {ref.id} generation {ref.generation} is not on this host: apply again"
        ) from None
