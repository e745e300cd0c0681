"""Why the kernel or a device refused a step, as a sentence with the remedy. Pure. Called by host."""

from __future__ import annotations

import errno
import os

from agent.operations import (
    AddAddress,
    AddInterface,
    AddRule,
    Operation,
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
)

_REMEDIES = {
    errno.EPERM: "the agent needs root with CAP_NET_ADMIN",
    errno.EADDRINUSE: "its UDP port is in use by another program: end that, or set another fleet_listen_port",
    errno.ECONNREFUSED: "its tunnel process ended meanwhile: the agent starts another",
    errno.ECONNRESET: "its tunnel process ended meanwhile: the agent starts another",
    errno.EPROTO: "the device gave an answer that is none: is it WireGuard's?",
    errno.ENETDOWN: "the interface is down",
}
_NO_IPV6 = frozenset({errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})


def why(number: int) -> str:
    """What an errno means here, with the remedy where one is known."""
    return _REMEDIES.get(number, os.strerror(number))


def sentence(operation: Operation, error: OSError) -> str:
    """One line: which interface, what was to be done, why not, what helps."""
    number = error.errno or 0
    if isinstance(operation, SetForwarding):
        return f"forwarding: {os.strerror(number)}"
    if isinstance(operation, SetMarkValidation):
        return f"src_valid_mark: {os.strerror(number)}"
    if isinstance(operation, RemoveRule):
        return f"the rule {operation.rule} cannot be removed: {why(number)}"
    name = operation.interface
    if number == errno.ENODEV and not isinstance(operation, AddInterface):
        return f"{name}: there is no such device, so nothing can be set on it"
    return f"{name}: {_task(operation)}: {_reason(operation, number)}"


def _reason(operation: Operation, number: int) -> str:
    if isinstance(operation, SetRoute) and number == errno.EEXIST:
        return (
            "the host has another route for it, which is not touched: remove that "
            f"(ip route show {operation.route.destination}), or take the network out of the fleet"
        )
    if isinstance(operation, AddRule) and number == errno.EEXIST:
        return "the host has the same rule from somebody else (ip rule), another full tunnel: end that one"
    subject = operation.route.destination if isinstance(operation, SetRoute) else ""
    subject = operation.address if isinstance(operation, AddAddress) else subject
    if ":" in subject and number in _NO_IPV6:
        return "IPv6 is switched off on this host: set net.ipv6.conf.all.disable_ipv6=0, then apply again"
    return why(number)


def _task(operation: Operation) -> str:
    """What was being done, without the interface."""
    if isinstance(operation, SetPeer):
        return f"peer {operation.name} cannot be set"
    if isinstance(operation, (RemovePeer, RemoveAllowedIPs)):
        return f"peer {operation.name} cannot be taken away in full"
    if isinstance(operation, (AddAddress, RemoveAddress)):
        return f"address {operation.address} cannot be changed"
    if isinstance(operation, (SetRoute, RemoveRoute)):
        return f"the route to {operation.route.destination} cannot be changed"
    if isinstance(operation, SetLink):
        return f"the MTU cannot be {operation.mtu}" if operation.mtu else "it cannot be brought up"
    if isinstance(operation, SetDevice):
        return "the device cannot be set up"
    if isinstance(operation, RemoveInterface):
        return "it cannot be removed"
    if isinstance(operation, (SetFirewall, RemoveFirewall)):
        return "its firewall table cannot be changed"
    if isinstance(operation, AddRule):
        return f"the rule {operation.rule} cannot be added"
    return "it cannot be made"
