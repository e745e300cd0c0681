"""What a configuration file asks of a device, as a change of it. Pure. Called by wg.main.

Source: the requests of wireguard-tools 1.0.20210914 as a control socket gets them.
"""

from __future__ import annotations

from typing import Callable

from agent.host.device import DeviceEdit, DeviceState, PeerEdit, SocketAddress
from agent.wg.config import Config, Endpoint, PeerConfig

_NO_KEY = bytes(32)

Resolve = Callable[[Endpoint], SocketAddress]


def setconf(config: Config, resolve: Resolve) -> DeviceEdit:
    """The device becomes what the file says: what it does not say is off."""
    return DeviceEdit(
        private_key=config.private_key or _NO_KEY,
        listen_port=config.listen_port or 0,
        fwmark=config.fwmark or 0,
        peers=_peers(config, resolve),
        replace_peers=True,
    )


def addconf(config: Config, resolve: Resolve) -> DeviceEdit:
    """What the file does not say stays; peers that it names get its AllowedIPs instead of theirs."""
    return DeviceEdit(config.private_key, config.listen_port, config.fwmark, _peers(config, resolve))


def syncconf(config: Config, resolve: Resolve, current: DeviceState) -> DeviceEdit:
    """As `setconf`, but a peer that stays keeps its session, and whatever the file does not say of it."""
    if not config.peers:
        return setconf(config, resolve)
    wanted = {peer.public_key for peer in config.peers}
    removed = tuple(
        PeerEdit(peer.public_key, remove=True)
        for peer in reversed(current.peers)
        if peer.public_key not in wanted
    )
    return DeviceEdit(
        private_key=config.private_key or _NO_KEY,
        listen_port=config.listen_port or 0,
        fwmark=config.fwmark or 0,
        peers=removed + _peers(config, resolve),
    )


def _peers(config: Config, resolve: Resolve) -> tuple[PeerEdit, ...]:
    return tuple(_peer(peer, resolve) for peer in config.peers)


def _peer(peer: PeerConfig, resolve: Resolve) -> PeerEdit:
    return PeerEdit(
        public_key=peer.public_key,
        new=True,
        preshared_key=peer.preshared_key,
        endpoint=None if peer.endpoint is None else resolve(peer.endpoint),
        persistent_keepalive=peer.persistent_keepalive,
        allowed_ips=tuple(peer.allowed_ips),
        replace_allowed_ips=True,
    )
