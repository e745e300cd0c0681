"""Takes the bytes of one input apart, and looks at what is said of them. Called by the targets."""

from __future__ import annotations


class Reader:
    """Reads from the start; behind the end there are zeros. True while something is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.ljust(size, b"\0")

    def number(self, size: int = 1) -> int:
        """An unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def piece(self) -> bytes:
        """As many bytes as a number of two bytes before them says, or as there are."""
        size = self.number(2)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


def check_sentence(error: Exception) -> None:
    """A refusal is one line of words that can be written."""
    text = str(error)
    assert text
    assert "\n" not in text
    text.encode()
