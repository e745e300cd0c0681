"""WireGuard devices of both kinds, wherever they are: found, made, moved into namespaces, written, removed.

Job: know of each interface by its name in which network namespace it is and of which kind. Refuses to know
bundles, addresses and routes beyond showing them, and why a device is changed. Called by host.
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Iterable
from typing import Callable, Literal, Optional, TypeVar

from agent.host.device import Device, DeviceEdit, DeviceState
from agent.host.errors import HostError
from agent.host.keys import KeyNames
from agent.host.network import LinkState, Network
from agent.host.reasons import why
from agent.host.tunnel import Tunnels
from agent.host.userspace import UserspaceDevice
from agent.netns import NamespaceError, within
from agent.operations import AddInterface
from agent.report import ObservedInterface, ObservedPeer
from agent.tunnel.tun import set_up_as_the_kernel_does

_Result = TypeVar("_Result")
_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET})
"""What a device answers that was removed, or whose process ended, under our eyes."""


class Devices:
    """The devices of a host. Methods raise HostError, or OSError with an errno."""

    def __init__(
        self, network: Network, kernel: Device, userspace: UserspaceDevice, tunnels: Tunnels
    ) -> None:
        self._network = network
        self._kernel = kernel
        self._userspace = userspace
        self._tunnels = tunnels
        self._places: dict[str, Optional[str]] = {}
        """The namespaces of the interfaces that were last seen, or made since."""
        self._kinds: dict[str, Literal["kernel", "userspace"]] = {}
        """Of which kind they are: to find that out for each of many peers costs as much as to set it."""

    def observe(
        self, spaces: dict[str, list[Optional[str]]], keys: KeyNames
    ) -> tuple[ObservedInterface, ...]:
        """The devices of these names in one of their namespaces; one whose process is dead is none."""
        self._tunnels.reap()
        found = [self._find(name, places, keys) for name, places in spaces.items()]
        present = tuple(interface for interface in found if interface is not None)
        for name in spaces:
            self._places.pop(name, None)
            self._kinds.pop(name, None)
        self._kinds.update((interface.name, interface.backend) for interface in present)
        self._places.update((interface.name, interface.netns) for interface in present)
        return present

    def at(self, interface: str, act: Callable[[Network], _Result]) -> _Result:
        """Something done in the namespace that the interface is in."""
        return within(self._places.get(interface), lambda: act(self._network))

    def write(self, interface: str, edit: DeviceEdit) -> None:
        """A control socket is found from anywhere; scopes of endpoints are those of our own namespace."""
        backend = self._kinds.get(interface) or self._kind(interface)
        if backend == "kernel":
            self.at(interface, lambda _: self._kernel.write(interface, edit))
        else:
            self._userspace.write(interface, edit)

    def make(self, wanted: AddInterface) -> None:
        """Makes the device, after what is there instead was removed."""
        name, netns = wanted.interface, wanted.netns
        if netns is not None:
            within(netns, lambda: None)  # else what is there would go, and nothing come
        if wanted.instead and self._userspace.silence(name):
            self._tunnels.end_silent(name, elsewhere=self._places.get(name) is not None)
        elif wanted.instead:
            self.remove(name)
        self._places[name] = netns
        self._kinds.pop(name, None)
        link = self.at(name, lambda network: network.link(name))
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

    def remove(self, name: str) -> None:
        """Removes the device, and what made it; nothing is no failure."""
        self._kinds.pop(name, None)
        netns = self._places.get(name)
        try:
            link = self.at(name, lambda network: network.link(name))
        except NamespaceError:
            link = None
        backend = None if link is None else self._backend(name, link)
        if backend is not None:
            self.at(name, lambda network: network.remove_link(name))
            if backend == "userspace":
                self._tunnels.ended(name, elsewhere=netns is not None)
        elif netns is not None:
            self._tunnels.end_stray(name)

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

    def _kind(self, interface: str) -> Literal["kernel", "userspace"]:
        link = self.at(interface, lambda network: network.link(interface))
        backend = None if link is None else self._backend(interface, link)
        if backend is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._kinds[interface] = backend
        return backend

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
