"""How keys are named: `key/HOST-ID` and `psk/HOST-ID~HOST-ID`. Pure.

Called by the topology, which names keys, and by custody, which makes them.
"""

from __future__ import annotations

from agent.secret import SecretRef

_PRIVATE_KEY = "key/"
_PRESHARED_KEY = "psk/"


def private_key_ref(host_id: str, generation: int) -> SecretRef:
    """The name of a host's private key."""
    return SecretRef(_PRIVATE_KEY + host_id, generation)


def pair_id(one: str, other: str) -> str:
    """The name of a pair of host ids, the same whichever comes first."""
    return f"{one}~{other}" if one < other else f"{other}~{one}"


def preshared_key_ref(pair: str, generation: int) -> SecretRef:
    """The name of the pre-shared key of a pair."""
    return SecretRef(_PRESHARED_KEY + pair, generation)


def host_of(ref: SecretRef) -> str | None:
    """The host id in the name of a private key; None for other keys."""
    return ref.id.removeprefix(_PRIVATE_KEY) if ref.id.startswith(_PRIVATE_KEY) else None


def pair_of(ref: SecretRef) -> str | None:
    """The pair in the name of a pre-shared key; None for other keys."""
    return ref.id.removeprefix(_PRESHARED_KEY) if ref.id.startswith(_PRESHARED_KEY) else None
