"""One host's network: observed as a report says it, changed as converge asks for it.

Job: find out of which kind a device is, hand requests to the part that does them, and turn what fails
into sentences for people. Refuses to decide what should be changed. Called by resident.engine.
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Callable, Literal, Optional, TypeVar

from agent import egress
from agent.bundle import Bundle, Interface, join_endpoint
from agent.egress import Rule
from agent.host.device import Device, DeviceEdit, DeviceState, PeerEdit, SocketAddress
from agent.host.errors import HostError, SilentError
from agent.host.firewall import Firewall
from agent.host.forwarding import Forwarding
from agent.host.kernel import KernelDevice
from agent.host.keys import KeyNames
from agent.host.mtu import fitting
from agent.host.network import LinkState, Network
from agent.host.reasons import sentence, why
from agent.host.resolve import ResolveError, Resolver
from agent.host.rules import Rules
from agent.host.surroundings import NAMED, Surroundings
from agent.host.switch import MarkValidation
from agent.host.tunnel import Spawn, Tunnels
from agent.host.userspace import UserspaceDevice
from agent.netns import NamespaceError, Place, within
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
from agent.report import FittingMtu, Observed, ObservedInterface, ObservedPeer
from agent.secret import SecretRef, Secrets
from agent.tunnel.tun import set_up_as_the_kernel_does

_NO_KEY = bytes(32)
_Result = TypeVar("_Result")
_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET})
"""What a device answers that was removed, or whose process ended, under our eyes."""


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
        self._kernel = kernel or KernelDevice()
        self._userspace = userspace or UserspaceDevice()
        self._surroundings = Surroundings(forwarding or Forwarding(), firewall or Firewall(), run)
        self._rules = rules or Rules()
        self._mark_validation = mark_validation or MarkValidation()
        self._resolver = resolver or Resolver()
        self._tunnels = Tunnels(spawn, self._userspace)
        self._places: dict[str, Optional[str]] = {}
        """The namespaces of the interfaces that were last seen, or made since."""
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
        self._tunnels.reap()
        keys = KeyNames(bundle, secrets)
        interfaces = () if bundle is None else bundle.interfaces
        spaces = _spaces(interfaces, made)
        found = [self._find(name, places, keys) for name, places in spaces.items()]
        present = tuple(interface for interface in found if interface is not None)
        for name in spaces:
            self._places.pop(name, None)
        self._places.update((interface.name, interface.netns) for interface in present)
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
            fitting=self._fitting(interfaces, present),
            rules=self._observe_rules(),
            marks_validated=self._mark_validation.is_on(),
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

    def _fitting(
        self, wanted: Iterable[Interface], present: Iterable[ObservedInterface]
    ) -> tuple[FittingMtu, ...]:
        """The MTUs of the interfaces that are here and leave theirs to the host."""
        here = {actual.name: actual for actual in present if actual.answers}
        found = []
        for one in wanted:
            if one.mtu is not None or one.name not in here:
                continue
            # What goes to the peers leaves from our own namespace, wherever the interface is.
            elsewhere = here[one.name].netns is not None
            link = None if elsewhere else self._network.link(one.name)
            if elsewhere or link is not None:
                way = partial(self._network.path_mtu, but=0 if link is None else link.index)
                found.append(fitting(one, here[one.name], way))
        return tuple(found)

    def _observe_rules(self) -> tuple[Rule, ...]:
        try:
            return self._rules.ours()
        except OSError as error:
            raise HostError(f"rules of routing policy cannot be observed: {why(error.errno or 0)}") from error

    def _find(
        self, name: str, spaces: Iterable[Optional[str]], keys: KeyNames
    ) -> Optional[ObservedInterface]:
        """In one of the namespaces, or on its way there, or in one that has no name any more."""
        places = list(spaces)
        for netns in places:
            found = self._observe(name, netns, keys)
            if found is not None:
                return found
        named = [netns for netns in places if netns is not None]
        if not named or not self._tunnels.is_stray(name):
            return None
        made = self._observe(name, None, keys)
        if made is not None and made.backend == "userspace":
            return made
        return ObservedInterface(name, "userspace", up=False, mtu=0, answers=False, netns=named[-1])

    def _observe(self, name: str, netns: Optional[str], keys: KeyNames) -> Optional[ObservedInterface]:
        try:
            link = within(netns, lambda: self._network.link(name))
            backend = None if link is None else self._backend(name, link)
            if link is None or backend is None:
                return None
            index = link.index
            device = self._read(name, backend, netns)
            addresses, routes = within(
                netns, lambda: (self._network.addresses(index), self._network.routes(index))
            )
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise HostError(f"{name}: cannot be observed: {why(error.errno or 0)}") from error
        if device is None:
            return ObservedInterface(
                name,
                backend,
                link.up,
                link.mtu,
                addresses=addresses,
                routes=routes,
                answers=False,
                netns=netns,
            )
        return ObservedInterface(
            name=name,
            backend=backend,
            up=link.up,
            mtu=link.mtu,
            private_key=keys.private(device.private_key),
            public_key=None if device.public_key is None else base64.b64encode(device.public_key).decode(),
            listen_port=device.listen_port,
            fwmark=device.fwmark,
            addresses=addresses,
            peers=_peers(device, keys),
            routes=routes,
            netns=netns,
        )

    def _read(
        self, name: str, backend: Literal["kernel", "userspace"], netns: Optional[str]
    ) -> Optional[DeviceState]:
        """None where it does not answer."""
        if backend == "kernel":
            return within(netns, lambda: self._kernel.read(name))
        try:
            return self._userspace.read(name)
        except TimeoutError:
            return None

    def _backend(self, name: str, link: LinkState) -> Optional[Literal["kernel", "userspace"]]:
        if link.kind == "wireguard":
            return "kernel"
        return "userspace" if link.kind == "tun" and self._userspace.is_alive(name) else None

    def _at(self, interface: str, act: Callable[[Network], _Result]) -> _Result:
        """Something done in the namespace that the interface is in."""
        return within(self._places.get(interface), lambda: act(self._network))

    def _write(self, interface: str, edit: DeviceEdit) -> None:
        """A control socket is found from anywhere; scopes of endpoints are those of our own namespace."""
        link = self._at(interface, lambda network: network.link(interface))
        backend = None if link is None else self._backend(interface, link)
        if backend is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if backend == "kernel":
            self._at(interface, lambda _: self._kernel.write(interface, edit))
        else:
            self._userspace.write(interface, edit)

    def _add_interface(self, wanted: AddInterface, _secrets: Secrets) -> None:
        name, netns = wanted.interface, wanted.netns
        if netns is not None:
            within(netns, lambda: None)  # else what is there would go, and nothing come
        if wanted.instead and self._userspace.silence(name):
            self._tunnels.end_silent(name, elsewhere=self._places.get(name) is not None)
        elif wanted.instead:
            self._remove(name)
        self._places[name] = netns
        link = self._at(name, lambda network: network.link(name))
        if link is not None and self._backend(name, link) is None:
            raise HostError(
                f"{name}: an interface of this name exists and is not WireGuard's "
                f"({link.kind or 'hardware'}): rename one of them (fleet_interface)"
            )
        if link is not None or (wanted.backend != "userspace" and self._add_kernel(wanted)):
            return
        if netns is None:
            self._tunnels.start(name)
            return
        if self._network.link(name) is not None:
            raise HostError(_twice(name, netns))
        self._tunnels.start(name)
        self._move(name, netns)

    def _move(self, name: str, netns: str) -> None:
        """Moves a new userspace device; its process, and so its UDP sockets, stay where they are."""
        try:
            self._network.move_link(name, netns)
        except OSError:
            self._network.remove_link(name)
            self._tunnels.ended(name)
            raise
        within(netns, lambda: set_up_as_the_kernel_does(name))

    def _add_kernel(self, wanted: AddInterface) -> bool:
        """Whether the kernel can; where it must, it is an error if it cannot."""
        name, backend = wanted.interface, wanted.backend
        try:
            self._network.add_wireguard(name, wanted.netns)
        except OSError as error:
            if error.errno == errno.EEXIST and wanted.netns is not None:
                raise HostError(_twice(name, wanted.netns)) from error
            if error.errno != errno.EOPNOTSUPP:
                raise
            if backend == "kernel":
                raise HostError(
                    f"{name}: this kernel has no WireGuard: install its module, or let the host use "
                    "the userspace device (fleet_backend: auto)"
                ) from error
            return False
        return True

    def _remove_interface(self, unwanted: RemoveInterface, _secrets: Secrets) -> None:
        self._remove(unwanted.interface)

    def _remove(self, name: str) -> None:
        netns = self._places.get(name)
        try:
            link = self._at(name, lambda network: network.link(name))
        except NamespaceError:
            link = None
        backend = None if link is None else self._backend(name, link)
        if backend is not None:
            self._at(name, lambda network: network.remove_link(name))
            if backend == "userspace":
                self._tunnels.ended(name, elsewhere=netns is not None)
        elif netns is not None:
            self._tunnels.end_stray(name)

    def _set_link(self, wanted: SetLink, _secrets: Secrets) -> None:
        name = wanted.interface
        self._at(name, lambda network: network.set_link(name, wanted.mtu, wanted.up))

    def _set_device(self, wanted: SetDevice, secrets: Secrets) -> None:
        key = None if wanted.private_key is None else _reveal(wanted.interface, wanted.private_key, secrets)
        self._write(wanted.interface, DeviceEdit(key, wanted.listen_port, wanted.fwmark))

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
        self._write(wanted.interface, DeviceEdit(peers=(peer,)))
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
        self._write(unwanted.interface, DeviceEdit(peers=(take, PeerEdit(taker, remove=True))))

    def _remove_peer(self, unwanted: RemovePeer, _secrets: Secrets) -> None:
        peer = PeerEdit(base64.b64decode(unwanted.public_key), remove=True)
        self._write(unwanted.interface, DeviceEdit(peers=(peer,)))

    def _add_address(self, wanted: AddAddress, _secrets: Secrets) -> None:
        name, address = wanted.interface, wanted.address
        self._at(name, lambda network: network.add_address(name, address))

    def _remove_address(self, unwanted: RemoveAddress, _secrets: Secrets) -> None:
        name, address = unwanted.interface, unwanted.address
        self._at(name, lambda network: network.remove_address(name, address))

    def _set_route(self, wanted: SetRoute, _secrets: Secrets) -> None:
        name, destination = wanted.interface, wanted.route.destination
        owner = (
            None if wanted.instead else self._at(name, lambda network: network.owner(destination, but=name))
        )
        if owner is not None:
            raise HostError(
                f"{wanted.interface}: {destination} is this host's own network on {owner}, which a route "
                "through the tunnel would cut off: renumber one of them, or take it out of fleet_subnets"
            )
        self._at(name, lambda network: network.set_route(name, wanted.route, wanted.instead))

    def _remove_route(self, unwanted: RemoveRoute, _secrets: Secrets) -> None:
        name, route = unwanted.interface, unwanted.route
        self._at(name, lambda network: network.remove_route(name, route))

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


def _twice(name: str, netns: str) -> str:
    return (
        f"{name}: an interface of this name exists outside of namespace {netns} too, where this one is made "
        "before it is moved: rename one of them (fleet_interface)"
    )


def _peers(device: DeviceState, keys: KeyNames) -> tuple[ObservedPeer, ...]:
    return tuple(
        ObservedPeer(
            public_key=base64.b64encode(peer.public_key).decode(),
            preshared_key=keys.preshared(peer.preshared_key),
            endpoint=peer.endpoint,
            allowed_ips=peer.allowed_ips,
            persistent_keepalive=peer.persistent_keepalive,
            latest_handshake=peer.latest_handshake,
            rx_bytes=peer.rx_bytes,
            tx_bytes=peer.tx_bytes,
        )
        for peer in device.peers
    )


def _reveal(interface: str, ref: SecretRef, secrets: Secrets) -> bytes:
    try:
        return secrets[ref].reveal()
    except KeyError:
        raise HostError(
            f"{interface}: the key {ref.id} generation {ref.generation} is not on this host: apply again"
        ) from None
