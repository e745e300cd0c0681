"""What merging made of packets, compared with what it was given. Called by the tests of coalesce."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.tunnel.coalesce import coalesce
from tests.agent.tunnel.segments import (
    Segment,
    cut,
    internet_checksum,
)

V4 = Segment()
V6 = Segment(source="fd00::1", destination="fd00::2", label=5)
both = pytest.mark.parametrize("base", [V4, V6], ids=["v4", "v6"])
delivered_or_not = pytest.mark.parametrize("is_verified", [True, False], ids=["delivered", "forwarded"])


def train(base: Segment, count: int, size: int, last: int | None = None) -> list[Segment]:
    """`count` segments in sequence, of `size` bytes of payload, the last of `last`."""
    return [
        replace(
            base,
            sequence=base.sequence + number * size,
            identification=base.identification + number,
            payload=noise(number, last if last and number == count - 1 else size),
        )
        for number in range(count)
    ]


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def written(segments: Sequence[Segment], is_verified: bool) -> list[Sequence[bytes]]:
    """What is written for these; asserts that it comes out again."""
    packets = [segment.packed() for segment in segments]
    writes = coalesce(packets, lambda address: is_verified)
    compare(packets, writes, is_verified)
    return writes


def compare(packets: Sequence[bytes], writes: Sequence[Sequence[bytes]], is_verified: bool) -> None:
    """Asserts that the kernel makes `packets` of `writes`, each flow's in order.

    Of a merged packet that this host's TCP does not take, a segment was wrong; of all others, none was.
    """
    outcome: list[tuple[bytes, bool]] = []
    damaged: set[int] = set()
    refused: list[tuple[int, int]] = []
    for buffers in writes:
        pieces = cut(buffers)
        assert is_verified or pieces.is_right
        if not pieces.is_right:
            refused.append((len(outcome), len(outcome) + len(pieces.segments)))
        outcome += [(segment, pieces.is_right) for segment in pieces.segments]
    assert len(outcome) == len(packets)
    positions = by_flow([segment for segment, _ in outcome])
    for flow, indices in by_flow(packets).items():
        assert len(positions[flow]) == len(indices)
        for before, after in zip(indices, positions[flow]):
            segment, is_right = outcome[after]
            if is_verified:
                segment = with_identification_of(packets[before], segment)
            if is_right:
                assert segment == packets[before], flow
            else:
                at = 20 if segment[0] >> 4 == 4 else 40
                assert segment[: at + 16] == packets[before][: at + 16]
                assert segment[at + 18 :] == packets[before][at + 18 :]
                if segment != packets[before]:
                    damaged.add(after)
    for begin, end in refused:
        assert damaged & set(range(begin, end)), "a merged packet has a wrong checksum for no reason"


def with_identification_of(packet: bytes, segment: bytes) -> bytes:
    """The segment with the IPv4 id of a packet that must not be fragmented: where it ends, no one sees it."""
    if packet[0] != 0x45 or packet[6] != 0x40 or segment[4:6] == packet[4:6]:
        return segment
    header = segment[:4] + packet[4:6] + segment[6:10] + bytes(2) + segment[12:20]
    return header[:10] + internet_checksum(header).to_bytes(2, "big") + segment[12:]


def by_flow(packets: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Where the packets of each flow are. One that may be of any flow is in all of them."""
    names = [flow_of(packet) for packet in packets]
    flows: dict[bytes, list[int]] = defaultdict(list)
    for name in {name for name in names if name} or {b""}:
        flows[name] = [index for index, of in enumerate(names) if of in (name, b"")]
    return flows


def flow_of(packet: bytes) -> bytes:
    """Protocol, addresses and ports; empty: it cannot be told."""
    if packet[0] == 0x45:
        if packet[9] != 6:
            return b"4" + packet[9:10] + packet[12:20]
        is_fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
        return b"" if is_fragment or len(packet) < 40 else b"4" + packet[9:10] + packet[12:24]
    if packet[0] >> 4 == 6 and packet[6] in (17, 58):
        return b"6" + packet[6:7] + packet[8:40]
    if packet[0] >> 4 == 6 and packet[6] == 6 and len(packet) >= 60:
        return b"6" + packet[6:7] + packet[8:44]
    return b""


def counts(writes: Sequence[Sequence[bytes]]) -> list[int]:
    """How many segments each write has."""
    return [len(cut(buffers).segments) for buffers in writes]


# What is merged
