"""What a device wants done, as values. Carried out by agent.tunnel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agent.wireguard.endpoint import Endpoint

MOST_IN_A_ROW = 64
MOST_BYTES_IN_A_ROW = 65507
"""What the kernel takes at once: UDP_MAX_SEGMENTS (linux/udp.h), and the longest UDP payload of IPv4."""


class Datagrams(NamedTuple):
    """Outer UDP payloads to send in a row: of the same size but the last, which may be shorter.

    There are `number` of them, `size` bytes each; `parts` are all their bytes, wherever they are cut. `tos`
    is the whole TOS / traffic class byte to send them with.
    """

    endpoint: Endpoint
    tos: int
    number: int
    size: int
    parts: Sequence[bytes]

    def payloads(self) -> list[bytes]:
        """Each one for itself."""
        joined = b"".join(self.parts)
        return [joined[start : start + self.size] for start in range(0, len(joined), self.size)]


class Output(NamedTuple):
    """Datagrams for the network, packets for the TUN, each in order."""

    datagrams: list[Datagrams]
    packets: list[bytes]
