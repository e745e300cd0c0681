"""The public key that belongs to a private key, also where the userspace device's library is missing.

Job: ask the library, which hosts with a kernel device are not sent, and compute it ourselves without it.
Python's integers take a time that depends on their values, so this serves commands that somebody gives on
the host itself, never a handshake. Called by wg and by the userspace side of host.
"""

from __future__ import annotations

_PRIME = 2**255 - 19
_A24 = 121665
_BASE_POINT = 9


def public_key(private_key: bytes) -> bytes:
    """32 bytes for 32 bytes; the private key need not be clamped."""
    try:
        from agent.wireguard.x25519 import PrivateKey
    except ImportError:
        return multiply_base(private_key)
    return PrivateKey(private_key).public


def clamp(data: bytes) -> bytes:
    """The private key that 32 bytes stand for (RFC 7748, section 5)."""
    return bytes([data[0] & 248, *data[1:31], data[31] & 127 | 64])


def multiply_base(private_key: bytes) -> bytes:
    """X25519 of a private key and the base point: the Montgomery ladder of RFC 7748, section 5."""
    scalar = int.from_bytes(clamp(private_key), "little")
    x2, z2, x3, z3 = 1, 0, _BASE_POINT, 1
    swapped = 0
    for position in reversed(range(255)):
        bit = scalar >> position & 1
        if bit != swapped:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swapped = bit
        plus, minus = x2 + z2, x2 - z2
        plus_squared, minus_squared = plus * plus % _PRIME, minus * minus % _PRIME
        difference = plus_squared - minus_squared
        one, two = (x3 - z3) * plus % _PRIME, (x3 + z3) * minus % _PRIME
        x3 = (one + two) ** 2 % _PRIME
        z3 = _BASE_POINT * (one - two) ** 2 % _PRIME
        x2 = plus_squared * minus_squared % _PRIME
        z2 = difference * (plus_squared + _A24 * difference) % _PRIME
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(32, "little")
