"""What a device wants sent in rows: what the kernel takes at once, and what becomes of a row that fails."""

from __future__ import annotations

import pytest

from agent.wireguard.device import Datagrams
from agent.wireguard.output import MOST_BYTES_IN_A_ROW, MOST_IN_A_ROW
from tests.agent.wireguard.network import Network, Node, packet


class _NoDeviceError(Exception):
    """What the caller's functions may raise."""


def _rows(sizes: list[int], mtu: int = 1420, tos: int = 0) -> list[tuple[int, int]]:
    """Number and size of each row that packets of these sizes make; asserts that the kernel takes them."""
    network = Network()
    one, other = network.connected()
    one.device.mtu = mtu
    one.device.send([packet(one.address, other.address, size, tos) for size in sizes], network.now)
    rows = one.device.take().datagrams
    for row in rows:
        assert row.tos == tos
        assert row.number == len(row.payloads())
        assert row.number == 1 or sum(map(len, row.parts)) <= MOST_BYTES_IN_A_ROW
    other.device.receive(
        [(payload, one.endpoint, 0) for row in rows for payload in row.payloads()], network.now
    )
    assert [len(data) for data in other.device.take().packets] == sizes, "all of them, in order"
    return [(row.number, row.size) for row in rows]


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([84], [(1, 128)]),
        ([84, 90, 96], [(3, 128)]),
        ([1420, 1420, 60], [(3, 1452)]),
        ([1420, 60, 1420], [(2, 1452), (1, 1452)]),
        ([60, 60, 1420, 60, 60], [(2, 96), (2, 1452), (1, 96)]),
        ([1420] * 64, [(45, 1452), (19, 1452)]),
        ([40] * 130, [(MOST_IN_A_ROW, 80), (MOST_IN_A_ROW, 80), (2, 80)]),
    ],
)
def test_rows_end_with_a_shorter_one_and_where_the_kernel_takes_no_more(
    sizes: list[int], rows: list[tuple[int, int]]
) -> None:
    assert _rows(sizes) == rows
    assert _rows(sizes, tos=1) == rows


def test_what_is_longer_than_any_datagram_is_in_no_row() -> None:
    for size in (65535, 65488):
        assert _rows([size] * 3, mtu=65535) == [(1, size + 32)] * 3
        assert _rows([size, 60], mtu=65535) == [(1, size + 32), (1, 96)]


def test_each_row_has_one_tos() -> None:
    network = Network()
    one, other = network.connected()
    one.device.send([packet(one.address, other.address, tos=tos) for tos in (0, 1, 1, 2, 3, 0)], network.now)
    assert [(row.tos, row.number) for row in one.device.take().datagrams] == [(0, 1), (1, 2), (2, 2), (0, 1)]


def test_no_counter_is_used_twice_even_when_a_row_could_not_be_handed_over() -> None:
    network = Network()
    one, other = network.connected()
    emitted: list[Datagrams] = []

    def emit(row: Datagrams) -> None:
        emitted.append(row)
        if len(emitted) == 2:
            raise _NoDeviceError

    one.device.carry_out_with(emit, lambda packets: None)
    with pytest.raises(_NoDeviceError):
        one.device.send(_changing(one, other), network.now)
    one.device.send(_changing(one, other), network.now)
    counters = [payload[8:16] for row in emitted for payload in row.payloads()]
    assert len(emitted) == 5
    assert len(set(counters)) == len(counters)


def _changing(one: Node, other: Node) -> list[bytes]:
    """Packets of three rows."""
    return [packet(one.address, other.address, tos=tos) for tos in (0, 0, 1, 1, 2)]
