"""In which order hosts leave a fleet, so that none takes the way to another with it. Pure.

Called by `fleet.rollout.destroy`. What is looked at are the addresses that SSH goes to (ansible_host); a name
tells nothing of the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from fleet.inventory.model import Address, Host, Inventory


def led_through(fleet: Inventory, addresses: Mapping[str, Iterable[Address]]) -> frozenset[str]:
    """The hosts whose SSH address is one within the fleet, or in a subnet behind one of its hosts.

    `addresses` has those within the fleet, by host.
    """
    within = {address for own in addresses.values() for address in own}
    subnets = [subnet for host in fleet.hosts.values() for subnet in host.subnets]

    def leads(host: Host) -> bool:
        address = _address(host)
        return address is not None and (
            address in within or any(address in net for net in (*fleet.pools, *subnets))
        )

    return frozenset(host.name for host in fleet.hosts.values() if leads(host))


def waves(hosts: Iterable[Host], through: frozenset[str]) -> list[list[Host]]:
    """The hosts, those first whose way leads through the fleet, and within these who passes nothing on.

    Of the others those first that only call, and this machine last.
    """
    chosen = list(hosts)
    reached = [_address(host) for host in chosen if host.name in through]

    def rank(host: Host) -> tuple[bool, bool, bool]:
        carries = host.transit or any(
            address is not None and address in subnet for address in reached for subnet in host.subnets
        )
        if host.name in through:
            return (False, False, carries)
        return (True, host.connection.kind == "local", host.endpoint is not None)

    ranks = sorted({rank(host) for host in chosen})
    return [[host for host in chosen if rank(host) == one] for one in ranks]


def _address(host: Host) -> Address | None:
    if host.connection.kind == "local":
        return None
    try:
        return ip_address(host.connection.host)
    except ValueError:
        return None
