"""Secrets: keys by reference, and the keys themselves behind a type that does not print them.

Job: name a key (`SecretRef`), hold one (`Secret`), carry several (`Secrets`). Refuses to know what a
key is for and where it lives. Called by bundle, converge, store and the controller's custody.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KEY_BYTES = 32


@dataclass(frozen=True, order=True)
class SecretRef:
    """Which key: `id` says what for (`key/HOST-ID`, `psk/HOST-ID~HOST-ID`), `generation` counts from 1."""

    id: str
    generation: int

    def __post_init__(self) -> None:
        if not self.id or not 1 <= self.generation < 2**31:
            raise ValueError("a secret needs an id and a generation from 1 to 2147483647")


class Secret:
    """32 secret bytes. Printing, formatting or pickling one never shows them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise ValueError(f"a key is {KEY_BYTES} bytes, not {len(value)}")
        self._value = bytes(value)

    @classmethod
    def from_base64(cls, text: str) -> Secret:
        """Raises ValueError where `text` is not the base64 of 32 bytes; the message never quotes it."""
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("a key that is not base64") from error
        return cls(value)

    def reveal(self) -> bytes:
        """The 32 bytes, for the one place that needs them."""
        return self._value

    def reveal_base64(self) -> str:
        """The bytes as wg prints keys."""
        return base64.b64encode(self._value).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(redacted)"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")


class Secrets(Mapping[SecretRef, Secret]):
    """Keys by reference, as they travel beside a bundle."""

    def __init__(self, items: Iterable[tuple[SecretRef, Secret]] = ()) -> None:
        self._items = dict(items)

    def __getitem__(self, ref: SecretRef) -> Secret:
        return self._items[ref]

    def __iter__(self) -> Iterator[SecretRef]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Secrets({sorted(self._items)})"

    def to_json(self) -> list[dict[str, Any]]:
        """The wire form, keys in the clear: for the stream to a host and its 0600 file alone."""
        return [
            {"id": ref.id, "generation": ref.generation, "value": secret.reveal_base64()}
            for ref, secret in sorted(self._items.items(), key=lambda item: item[0])
        ]

    @classmethod
    def from_json(cls, value: Any) -> Secrets:
        """Raises ValueError where `value` is not what `to_json` makes."""
        if not isinstance(value, list):
            raise ValueError("secrets: expected a list")
        items = []
        for entry in value:
            if not isinstance(entry, dict) or set(entry) != {"id", "generation", "value"}:
                raise ValueError("secrets: expected objects of id, generation and value")
            if type(entry["generation"]) is not int or not isinstance(entry["id"], str):
                raise ValueError("secrets: a malformed reference")
            if not isinstance(entry["value"], str):
                raise ValueError(f"secrets: {entry['id']}: a malformed value")
            items.append((SecretRef(entry["id"], entry["generation"]), Secret.from_base64(entry["value"])))
        return cls(items)
