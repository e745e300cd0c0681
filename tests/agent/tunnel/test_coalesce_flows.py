"""Merging packets of many flows at once: what goes in comes out, byte for byte and in order per flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tunnel.coalesce import coalesce
from tests.agent.tunnel.merging import (
    compare,
    noise,
)
from tests.agent.tunnel.segments import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    SYN,
    Segment,
)


@dataclass
class Flow:
    """A sender: what it sends next."""

    next: Segment
    size: int
    fill: int
    id_rise: int
    count: int = 0

    def segment(self, **changes: Any) -> Segment:
        size = changes.pop("size", self.size)
        self.count += 1
        payload = noise(self.count, size) if self.fill < 0 else bytes([self.fill]) * size
        sent = replace(self.next, payload=payload, **changes)
        self.next = replace(
            self.next,
            sequence=self.next.sequence + size,
            identification=self.next.identification + self.id_rise,
        )
        return sent


FLOWS = st.builds(
    Flow,
    next=st.builds(
        Segment,
        source=st.sampled_from(["10.0.0.1", "fd00::1"]),
        destination=st.just("10.0.0.2"),
        ports=st.tuples(st.sampled_from([1, 2]), st.just(80)),
        sequence=st.integers(0, (1 << 32) - 1) | st.integers((1 << 32) - 5000, (1 << 32) - 1),
        ack=st.integers(0, (1 << 32) - 1),
        flags=st.sampled_from([ACK, ACK | ECE]),
        window=st.integers(0, 0xFFFF),
        options=st.integers(0, 10).map(lambda words: noise(words, words * 4)),
        identification=st.integers(0, 0xFFFF) | st.integers(0xFFF0, 0xFFFF),
        fragment=st.sampled_from([0, 0x4000]),
        hop_limit=st.integers(1, 255),
        tos=st.integers(0, 255),
        label=st.integers(0, 0xFFFFF),
    ).map(lambda base: replace(base, destination="fd00::2") if ":" in base.source else base),
    size=st.integers(1, 300) | st.sampled_from([101, 536, 1000, 1367, 1368, 9001, 33000]),
    fill=st.sampled_from([-1, -1, 0, 0xFF]),
    id_rise=st.sampled_from([1, 1, 1, 0]),
)
CHANGES: list[dict[str, Any]] = [
    {"checksum_error": 1},
    {"flags": ACK | PSH},
    {"flags": ACK | FIN},
    {"flags": ACK | FIN | PSH | ECE},
    {"flags": ACK | CWR},
    {"flags": SYN},
    {"size": 1},
    {"size": 0},
    {"size": 99},
    {"size": 310},
    {"sequence": 5},
    {"fragment": 0x2000},
    {"fragment": 0x0007},
    {"urgent": 9},
    {"window": 3},
    {"ack": 3},
    {"hop_limit": 7},
    {"tos": 3},
    {"label": 3},
    {"options": b"\1\1\1\1"},
    {"identification": 77},
    {"identification": 7},
    {"ip_checksum_error": 1},
]


@st.composite
def batches(draw: st.DrawFn) -> list[bytes]:
    """Trains of up to three flows, with every kind of disturbance between and within."""
    flows = draw(st.lists(FLOWS, min_size=1, max_size=3))
    packets: list[bytes] = []
    for what, count, which in draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(0, 2)), max_size=12)
    ):
        flow = flows[which % len(flows)]
        if what <= 3:
            packets += [flow.segment().packed() for _ in range(count)]
        elif what == 4:
            packets += [flow.segment().packed() for _ in range(count) for flow in flows]
        elif what <= 6:
            packets.append(flow.segment(**draw(st.sampled_from(CHANGES))).packed())
        elif what == 7 and packets:
            packets.append(draw(st.sampled_from(packets)))
        elif what == 8 and len(packets) > 1:
            packets[-2:] = packets[:-3:-1]
        else:
            packets.append(draw(garbage()))
    return packets


@st.composite
def garbage(draw: st.DrawFn) -> bytes:
    """Anything that the tunnel lets through: a version, and a length that is there."""
    packet = bytearray(draw(st.binary(min_size=40, max_size=200)))
    if draw(st.booleans()):
        del packet[draw(st.integers(20, 40)) :]
        packet[0] = draw(st.sampled_from([0x45, 0x45, 0x46, 0x40]))
        packet[2:4] = len(packet).to_bytes(2, "big")
        packet[9] = draw(st.sampled_from([6, 6, 17, 1]))
    else:
        packet[0] = 0x60
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
        packet[6] = draw(st.sampled_from([0, 6, 17, 44, 58, 59]))
    return bytes(packet)


@settings(max_examples=400, deadline=None)
@given(packets=batches(), is_verified=st.booleans())
def test_what_goes_in_comes_out(packets: list[bytes], is_verified: bool) -> None:
    compare(packets, coalesce(packets, lambda address: is_verified), is_verified)


@settings(deadline=None)
@given(
    flows=st.lists(FLOWS, min_size=1, max_size=4, unique_by=lambda flow: (flow.next.source, flow.next.ports)),
    count=st.integers(2, 8),
    is_verified=st.booleans(),
)
def test_undisturbed_trains_are_a_write_each(flows: list[Flow], count: int, is_verified: bool) -> None:
    for flow in flows:
        flow.size = 61 + flow.size % 4000
        flow.id_rise = 1
        flow.next = replace(flow.next, sequence=flow.next.sequence >> 1, identification=0)
    packets = [flow.segment().packed() for _ in range(count) for flow in flows]
    writes = coalesce(packets, lambda address: is_verified)
    compare(packets, writes, is_verified)
    assert len(writes) <= 2 * len(flows)  # an IPv4 checksum that begins anew at 0xFFFE ends a run
