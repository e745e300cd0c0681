"""Which secrets the keys on a device are, so that reports can name them without showing them. Pure.

Called by host.
"""

from __future__ import annotations

from typing import Optional

from agent.bundle import Bundle
from agent.curve import clamp
from agent.report import FOREIGN
from agent.secret import SecretRef, Secrets


class KeyNames:
    """The references of known keys. Of two with one value, the one that `bundle` wants is meant."""

    def __init__(self, bundle: Optional[Bundle], secrets: Secrets) -> None:
        wanted = frozenset() if bundle is None else bundle.secret_refs()
        ordered = sorted(secrets, key=lambda ref: (ref in wanted, ref))
        self._preshared = {secrets[ref].reveal(): ref for ref in ordered}
        self._private = {clamp(secrets[ref].reveal()): ref for ref in ordered}

    def private(self, key: Optional[bytes]) -> Optional[SecretRef]:
        """Devices keep private keys clamped."""
        return None if key is None else self._private.get(clamp(key), FOREIGN)

    def preshared(self, key: Optional[bytes]) -> Optional[SecretRef]:
        return None if key is None else self._preshared.get(key, FOREIGN)
