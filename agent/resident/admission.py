"""Which bundles an agent takes. Pure.

Job: one clear sentence for each bundle that it does not take. Refuses to know how a bundle arrives and
what becomes of it. Called by engine.
"""

from __future__ import annotations

from typing import Any, Optional

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.codec import CodecError
from agent.secret import Secrets


class RefusedError(Exception):
    """A sentence for people: why the bundle was not taken. Nothing was changed."""


def read(bundle: Any, secrets: Any) -> tuple[Bundle, Secrets]:
    """What a client sent, as JSON gave it, checked. Raises RefusedError."""
    version = bundle.get("version") if isinstance(bundle, dict) else None
    if type(version) is int and version != bundles.VERSION:
        raise RefusedError(
            f"the bundle is of version {version}, this agent speaks version {bundles.VERSION}: "
            "bring the agent and the controller to the same release"
        )
    try:
        return bundles.from_json(bundle), Secrets.from_json(secrets)
    except CodecError as error:
        raise RefusedError(f"the bundle makes no sense: {error}") from None
    except ValueError as error:
        raise RefusedError(f"the secrets make no sense: {error}") from None


def admit(
    bundle: Bundle, given: Secrets, held: Optional[Bundle], held_secrets: Secrets, replace_fleet: bool
) -> Secrets:
    """The secrets to keep with `bundle`: those it names, from what was given or else from what is held.

    `held` is the bundle that it would replace. An agent whose bundle names no interface has left its
    fleet, so any other may have it. Raises RefusedError.
    """
    same_fleet = held is not None and bundle.fleet == held.fleet
    if held is not None and held.interfaces and not replace_fleet:
        _check_owner(bundle, held)
    if held is not None and same_fleet and bundle.host == held.host:
        _check_revision(bundle, held, replace_fleet)
    # Equal references of two fleets name different keys.
    known = dict(held_secrets) if same_fleet else {}
    known.update(given)
    missing = sorted(bundle.secret_refs() - set(known))
    if missing:
        named = ", ".join(f"{ref.id} generation {ref.generation}" for ref in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RefusedError(
            f"revision {bundle.revision} needs secrets that this host does not hold: {named}{more}"
        )
    return Secrets((ref, known[ref]) for ref in bundle.secret_refs())


def _check_owner(bundle: Bundle, held: Bundle) -> None:
    if bundle.fleet != held.fleet:
        raise RefusedError(
            f'this host belongs to fleet "{held.fleet_name}" ({held.fleet}) and not to '
            f'"{bundle.fleet_name}" ({bundle.fleet}): nothing but --replace-fleet makes it change over'
        )
    if bundle.host != held.host:
        raise RefusedError(
            f"this host is {held.host} of fleet {held.fleet_name} and the bundle is for {bundle.host}: "
            f"take {held.host} out of the fleet first, or use --replace-fleet"
        )


def _check_revision(bundle: Bundle, held: Bundle, replace_fleet: bool) -> None:
    if bundle.revision < held.revision and not replace_fleet:
        raise RefusedError(
            f"this host has revision {held.revision} and the bundle is older, revision {bundle.revision}: "
            "apply from the newest state"
        )
    if bundle.revision == held.revision and bundle.digest() != held.digest() and not replace_fleet:
        raise RefusedError(
            f"this host has another revision {held.revision}: two states of fleet {held.fleet_name} "
            "are in use, apply from the newer one"
        )
