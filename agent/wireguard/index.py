"""The table of indices: random 32-bit numbers by which messages name our handshakes and keypairs.

Called by handshake and receive. Refuses to know what its entries are.
"""

from __future__ import annotations

from typing import Callable, Generic, Optional, TypeVar

Entry = TypeVar("Entry")


class IndexTable(Generic[Entry]):
    """Unique indices and what they stand for (peerlookup.c)."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._entries: dict[int, Entry] = {}
        self.get: Callable[[int], Optional[Entry]] = self._entries.get

    def new(self) -> int:
        """An index that is free; it is taken by `put`."""
        while True:
            index = int.from_bytes(self._random(4), "little")
            if index not in self._entries:
                return index

    def put(self, index: int, entry: Entry) -> None:
        """From now on `index` stands for `entry`, whatever it stood for."""
        self._entries[index] = entry

    def remove(self, index: int) -> None:
        """From now on `index` stands for nothing."""
        self._entries.pop(index, None)
