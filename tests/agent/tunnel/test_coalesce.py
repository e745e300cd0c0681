"""Merging packets, case by case: what belongs together and what must stay alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from agent.tunnel.coalesce import coalesce
from tests.agent.tunnel.merging import (
    V4,
    V6,
    both,
    compare,
    counts,
    delivered_or_not,
    noise,
    train,
    written,
)
from tests.agent.tunnel.segments import (
    ACK,
    CWR,
    ECE,
    FIN,
    NEEDS_CSUM,
    PSH,
    RST,
    SYN,
    TIMESTAMPS,
    URG,
    Segment,
    cut,
    internet_checksum,
)


@both
@delivered_or_not
@pytest.mark.parametrize("size", [1368, 1367, 101], ids=["even", "odd", "short"])
def test_a_train_is_one_write(base: Segment, is_verified: bool, size: int) -> None:
    assert counts(written(train(base, 45, size), is_verified)) == [45]


@pytest.mark.parametrize("identification", [0, 7])
def test_an_ipv4_id_that_never_changes_is_no_hindrance_where_packets_end(identification: int) -> None:
    segments = [replace(segment, identification=identification) for segment in train(V4, 5, 1000, 999)]
    assert counts(written(segments, is_verified=True)) == [5]
    assert counts(written(segments, is_verified=False)) == [1] * 5
    may_be_fragmented = [replace(segment, fragment=0) for segment in segments]
    assert counts(written(may_be_fragmented, is_verified=True)) == [1] * 5
    segments[3] = replace(segments[3], identification=9)
    assert counts(written(segments, is_verified=True)) == [3, 1, 1]


@both
@delivered_or_not
@pytest.mark.parametrize("flags", [0, PSH, FIN, PSH | FIN])
@pytest.mark.parametrize("size", [1368, 1367])
def test_the_last_segment_may_be_shorter_and_say_push_and_fin(
    base: Segment, is_verified: bool, flags: int, size: int
) -> None:
    for count in (2, 3, 4):
        for last in (1, 2, 700, size):
            segments = train(base, count, size, last)
            segments[-1] = replace(segments[-1], flags=ACK | flags)
            assert counts(written(segments, is_verified)) == [count]


@delivered_or_not
def test_an_ipv4_checksum_may_begin_anew_at_a_shorter_segment(is_verified: bool) -> None:
    full = replace(V4, identification=0, payload=bytes(1000)).packed()
    for target in (0xFFF0, 0xFFFF - 499, 0xFFFF - 500, 0xFFFF - 501):
        identification = (int.from_bytes(full[10:12], "big") - target) % 0xFFFF - 2
        segments = train(replace(V4, identification=identification), 3, 1000, 500)
        assert int.from_bytes(replace(segments[2], payload=bytes(1000)).packed()[10:12], "big") == target
        assert counts(written(segments, is_verified)) == [3]


@both
@delivered_or_not
def test_flows_are_told_apart(base: Segment, is_verified: bool) -> None:
    others = {address: address[:-1] + "3" for address in (base.source, base.destination)}
    senders = [
        *(replace(base, ports=(number, 80)) for number in range(3)),
        *(replace(base, ports=(80, number)) for number in range(3)),
        base,
        replace(base, source=others[base.source]),
        replace(base, destination=others[base.destination]),
    ]
    flows = [train(sender, 6, 1000) for sender in senders]
    interleaved = [segment for segments in zip(*flows) for segment in segments]
    assert counts(written(interleaved, is_verified)) == [6] * 9


@delivered_or_not
def test_what_differs_for_every_flow_may_be_anything(is_verified: bool) -> None:
    for changed in (
        replace(V4, flags=ACK | ECE, tos=0xB9, hop_limit=1, fragment=0, options=b""),
        replace(V4, window=0, ack=0xFFFFFFFF, options=TOP_OPTIONS),
        replace(V6, flags=ACK | ECE, tos=0xB9, hop_limit=1, options=TOP_OPTIONS),
    ):
        assert counts(written(train(changed, 3, 1000), is_verified)) == [3]


TOP_OPTIONS = bytes(range(40))


@delivered_or_not
@both
def test_limits_of_a_packet(base: Segment, is_verified: bool) -> None:
    assert counts(written(train(base, 50, 1368), is_verified)) == [47, 3]
    assert counts(written(train(base, 3, 40000), is_verified)) == [1, 1, 1]
    smallest = replace(base, options=b"")
    assert counts(written(train(smallest, 2000, 62 if base is V4 else 42 + 19), is_verified)) == [1023, 977]


# What is not merged


DIFFERENCES: list[dict[str, Any]] = [
    {"sequence": 3001},
    {"sequence": 1999},
    {"sequence": 1000},
    {"ports": (40001, 5201)},
    {"ports": (40000, 5202)},
    {"ack": 78},
    {"window": 501},
    {"urgent": 1},
    {"tos": 3},
    {"hop_limit": 63},
    {"options": TIMESTAMPS[:-1] + b"\0"},
    {"options": b""},
    {"options": b"\1" * 16},
    {"payload": noise(1, 1001)},
    {"payload": b""},
    *({"flags": flags} for flags in (ACK | SYN, ACK | RST, ACK | URG, ACK | ECE, ACK | CWR, 0, PSH)),
]
DIFFERENCES_V4: list[dict[str, Any]] = [
    {"source": "10.0.0.3"},
    {"destination": "10.0.0.3"},
    {"identification": 6},
    {"identification": 10},
    *({"fragment": fragment} for fragment in (0, 0xC000, 0x2000, 0x0001, 0x0100)),
    {"ip_checksum_error": 1},
]
DIFFERENCES_V6: list[dict[str, Any]] = [{"source": "fd00::3"}, {"destination": "fd00::3"}, {"label": 6}]


@delivered_or_not
@pytest.mark.parametrize(
    ("base", "difference"),
    [(V4, difference) for difference in DIFFERENCES + DIFFERENCES_V4]
    + [(V6, difference) for difference in DIFFERENCES + DIFFERENCES_V6],
    ids=lambda value: ("v6" if value.label else "v4") if isinstance(value, Segment) else str(value),
)
def test_a_segment_that_differs_is_not_merged(
    base: Segment, difference: dict[str, Any], is_verified: bool
) -> None:
    segments = train(base, 5, 1000)
    segments[2] = replace(segments[2], **difference)
    assert counts(written(segments, is_verified))[0] == 2
    segments = train(base, 2, 1000)
    segments[1] = replace(segments[1], **difference)
    assert counts(written(segments, is_verified)) == [1, 1]


@both
@delivered_or_not
@pytest.mark.parametrize("flags", [PSH, FIN, SYN, URG, CWR, RST], ids=str)
def test_none_follows_one_with_such_a_flag(base: Segment, is_verified: bool, flags: int) -> None:
    segments = [replace(segment, flags=ACK | flags) for segment in train(base, 3, 1000)]
    assert counts(written(segments, is_verified)) == [1, 1, 1]
    segments = train(base, 5, 1000)
    segments[2] = replace(segments[2], flags=ACK | flags)
    assert counts(written(segments, is_verified)) == ([3, 2] if flags in (PSH, FIN) else [2, 1, 2])


@both
@delivered_or_not
def test_none_follows_a_short_one(base: Segment, is_verified: bool) -> None:
    segments = [
        *train(base, 3, 1000, 999),
        replace(base, sequence=3999, identification=10, payload=b"x" * 999),
    ]
    assert counts(written(segments, is_verified)) == [3, 1]


@both
@delivered_or_not
def test_none_comes_twice(base: Segment, is_verified: bool) -> None:
    for flags in (0, PSH):
        segments = train(base, 3, 1000, 999)
        segments[-1] = replace(segments[-1], flags=ACK | flags)
        assert counts(written([*segments, segments[-1], segments[-1]], is_verified)) == [3, 1, 1]


@delivered_or_not
def test_trains_of_what_is_wrong_or_a_fragment_are_not_merged(is_verified: bool) -> None:
    for changed in (
        replace(V4, ip_checksum_error=1),
        *(replace(V4, fragment=fragment) for fragment in (0x2000, 0x0007, 0x0100)),
    ):
        assert counts(written(train(changed, 3, 1000), is_verified)) == [1, 1, 1]


@both
@delivered_or_not
def test_acknowledgements_are_not_merged(base: Segment, is_verified: bool) -> None:
    acknowledgements = [replace(base, identification=base.identification + number) for number in range(3)]
    assert counts(written(acknowledgements, is_verified)) == [1, 1, 1]
    same = replace(base, sequence=3000, identification=9)
    assert counts(written([*train(base, 2, 1000), same, same], is_verified)) == [2, 1, 1]


@delivered_or_not
def test_headers_that_lie_about_lengths(is_verified: bool) -> None:
    for base, lengths in ((V4, slice(2, 4)), (V6, slice(4, 6))):
        packets = [bytearray(segment.packed()) for segment in train(base, 3, 1000)]
        for packet in packets:
            packet[lengths] = (999).to_bytes(2, "big")
            if base is V4:
                packet[10:12] = bytes(2)
                packet[10:12] = internet_checksum(bytes(packet[:20])).to_bytes(2, "big")
        assert len(coalesce([bytes(packet) for packet in packets], lambda address: is_verified)) == 3
        at = 20 if base is V4 else 40
        packets = [bytearray(segment.packed()) for segment in train(base, 3, 1000)]
        for packet in packets:
            packet[at + 12] = 0x40
        assert len(coalesce([bytes(packet) for packet in packets], lambda address: True)) == 3


# Checksums


@both
def test_a_wrong_segment_spoils_the_packet_that_this_host_verifies(base: Segment) -> None:
    for size in (1000, 1001):
        for wrong in range(5):
            segments = train(base, 5, size, size - 1)
            segments[wrong] = replace(segments[wrong], checksum_error=1)
            (write,) = written(segments, is_verified=True)
            assert not cut(write).is_right


@both
def test_a_wrong_segment_that_is_passed_on_stays_alone(base: Segment) -> None:
    for wrong, expected in ((0, [1, 4]), (1, [1, 1, 3]), (2, [2, 1, 2]), (4, [4, 1])):
        segments = train(base, 5, 1000, 999)
        segments[wrong] = replace(segments[wrong], checksum_error=1)
        assert counts(written(segments, is_verified=False)) == expected


@both
def test_a_checksum_of_ones_stays_alone_where_the_kernel_would_write_zeros(base: Segment) -> None:
    for changed in range(3):
        packets = [segment.packed() for segment in train(base, 3, 1000)]
        packet = packets[changed]
        at = 36 if base is V4 else 56
        packet = with_tcp_checksum_of_zero(packet, at)
        packets[changed] = packet
        assert counts(coalesce(packets, lambda address: False)) == [3]
        packets[changed] = packet[:at] + b"\xff\xff" + packet[at + 2 :]
        writes = coalesce(packets, lambda address: False)
        compare(packets, writes, is_verified=False)
        assert len(writes) == (3 if changed == 1 else 2)


def with_tcp_checksum_of_zero(packet: bytes, at: int) -> bytes:
    """The same packet but for the end of its payload: what the checksum said moves there."""
    end = int.from_bytes(packet[-2:], "big") + int.from_bytes(packet[at : at + 2], "big")
    return packet[:at] + bytes(2) + packet[at + 2 : -2] + (end % 0xFFFF).to_bytes(2, "big")


@delivered_or_not
def test_an_ipv4_checksum_of_ones_stays_alone(is_verified: bool) -> None:
    zero = replace(V4, identification=0, payload=bytes(1000)).packed()
    identification = int.from_bytes(zero[10:12], "big")
    packets = [segment.packed() for segment in train(replace(V4, identification=identification), 3, 1000)]
    assert packets[0][10:12] == bytes(2)
    packets[0] = packets[0][:10] + b"\xff\xff" + packets[0][12:]
    writes = coalesce(packets, lambda address: is_verified)
    compare(packets, writes, is_verified)
    assert counts(writes) == [1, 2]


@both
def test_the_destination_decides_who_verifies(base: Segment) -> None:
    here, there = "10.0.0.2" if base is V4 else "fd00::2", "10.0.0.3" if base is V4 else "fd00::3"
    mixed = [
        segment.packed()
        for pair in zip(train(base, 3, 1000), train(replace(base, destination=there), 3, 1000))
        for segment in pair
    ]
    writes = coalesce(mixed, lambda address: address == ipaddress.ip_address(here).packed)
    assert [write[0][0] for write in writes] == [0, NEEDS_CSUM]


# Order


@both
@delivered_or_not
def test_nothing_overtakes_within_a_flow(base: Segment, is_verified: bool) -> None:
    segments = train(base, 9, 1000)
    for between in (
        replace(base, flags=SYN),
        replace(base, payload=b"early", sequence=1),
        replace(base, fragment=0x2000, payload=b"x" * 200),
        replace(base, fragment=0x0010, payload=b"x" * 200),
        replace(base),
    ):
        assert counts(written([segments[0], between, segments[1]], is_verified)) == [1, 1, 1]
        story = [*segments[:3], between, *segments[3:6], between, *segments[6:]]
        assert counts(written(story, is_verified)) == [3, 1, 3, 1, 3]


@delivered_or_not
@pytest.mark.parametrize("next_header", [0, 43, 44, 60, 51])
def test_what_may_be_of_any_flow_is_overtaken_by_none(next_header: int, is_verified: bool) -> None:
    segments = [segment.packed() for segment in train(V6, 4, 1000)]
    packet = bytearray(replace(V6, payload=b"x" * 200).packed())
    packet[6] = next_header
    options = bytearray(V4.packed())
    options[0] = 0x46
    others = replace(V4, ports=(1, 1), payload=b"x" * 200)
    for unclear in (
        bytes(packet),
        V6.packed()[:59],
        bytes(options),
        V4.packed()[:39],
        V4.packed()[:20],
        replace(others, fragment=0x2000).packed(),
        replace(others, fragment=0x0007).packed(),
        replace(others, fragment=0x0100).packed(),
    ):
        packets = [*segments[:2], unclear, *segments[2:]]
        writes = coalesce(packets, lambda address: is_verified)
        compare(packets, writes, is_verified)
        assert counts(writes) == [2, 1, 2]


@both
@delivered_or_not
def test_other_protocols_are_not_in_the_way(base: Segment, is_verified: bool) -> None:
    segments = [segment.packed() for segment in train(base, 4, 1000)]
    for protocol in (17, 1 if base is V4 else 58):
        datagram = bytearray(segments[0])
        datagram[9 if base is V4 else 6] = protocol
        packets = [*segments[:2], bytes(datagram), *segments[2:]]
        writes = coalesce(packets, lambda address: is_verified)
        compare(packets, writes, is_verified)
        assert counts(writes) == [4, 1]
