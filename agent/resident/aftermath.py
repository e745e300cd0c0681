"""What is still done after something failed, and what is not. Pure. Called by engine."""

from __future__ import annotations

from collections.abc import Sequence

from agent.operations import AddRule, Operation, RemoveRule, SetFirewall, SetMarkValidation, SetPeer, SetRoute


def stands_alone(wanted: Operation) -> bool:
    """Whether no removal rests on it: it gives a peer its endpoint, or is about firewall and full tunnel."""
    if isinstance(wanted, SetPeer):
        endpoint = wanted.endpoint
        return wanted == SetPeer(wanted.interface, wanted.name, wanted.public_key, endpoint=endpoint)
    if isinstance(wanted, SetRoute):
        return wanted.route.table is not None
    return isinstance(wanted, (SetFirewall, SetMarkValidation, AddRule))


def rests_on(wanted: Operation, failed: Sequence[Operation]) -> bool:
    """Whether a step must not be taken after these failed, for the sake of a full tunnel.

    Without its guard the host would be cut off from whoever calls it from outside, without its peer from
    everybody; other peers may be missing. Where it cannot be left, all that makes it work has to stay.
    """
    if any(isinstance(other, RemoveRule) for other in failed):
        return True
    if isinstance(wanted, AddRule):
        return any(
            isinstance(other, SetMarkValidation)
            or (
                getattr(other, "interface", None) == wanted.interface
                and not (isinstance(other, SetPeer) and other.public_key != wanted.through)
            )
            for other in failed
        )
    if isinstance(wanted, SetMarkValidation) or (isinstance(wanted, SetRoute) and wanted.route.table):
        return any(isinstance(other, SetFirewall) and other.guard is not None for other in failed)
    return False
