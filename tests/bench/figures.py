"""What the benchmark measures: the parts it consists of, and the figures that each part gives. Pure.

Job: names, titles and which direction is better, in the order of the table. Refuses to measure. Called by
everything in this folder.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Part = Literal["tcp", "udp", "ping", "idle", "fairness", "handshakes"]

MOST_RUNS: dict[Part, int] = {"udp": 3, "idle": 1, "fairness": 1, "handshakes": 1}
"""Of the parts that take long or vary little; the others are measured in every run."""

UDP_SIZES = (64, 1420)
"""Bytes of the inner IPv6 packet: headers, and what iperf3 puts behind them."""


class Figure(NamedTuple):
    """`title` ends with the unit."""

    part: Part
    title: str
    better: Literal["higher", "lower", "neither"]


FIGURES: dict[str, Figure] = {
    "tcp_1_mbits": Figure("tcp", "TCP, 1 stream, Mbit/s", "higher"),
    "tcp_1_reverse_mbits": Figure("tcp", "TCP, 1 stream back, Mbit/s", "higher"),
    "tcp_8_mbits": Figure("tcp", "TCP, 8 streams, Mbit/s", "higher"),
    "tcp_8_reverse_mbits": Figure("tcp", "TCP, 8 streams back, Mbit/s", "higher"),
    "cpu_seconds_per_gbyte": Figure("tcp", "TCP, 1 stream: processor time of both ends, s/GB", "lower"),
    "memory_peak_mbytes": Figure("tcp", "memory of one end, at most, MB", "lower"),
    "udp_64_pps": Figure("udp", "UDP, 64 bytes: arriving, packets/s", "higher"),
    "udp_64_sent_pps": Figure("udp", "UDP, 64 bytes: sent meanwhile, packets/s", "neither"),
    "udp_1420_pps": Figure("udp", "UDP, 1420 bytes: arriving, packets/s", "higher"),
    "udp_1420_sent_pps": Figure("udp", "UDP, 1420 bytes: sent meanwhile, packets/s", "neither"),
    "ping_idle_ms": Figure("ping", "ping, idle: median, ms", "lower"),
    "ping_idle_p99_ms": Figure("ping", "ping, idle: 99 % within, ms", "lower"),
    "ping_loaded_ms": Figure("ping", "ping beside 1 TCP stream: median, ms", "lower"),
    "ping_loaded_p99_ms": Figure("ping", "ping beside 1 TCP stream: 99 % within, ms", "lower"),
    "ping_loaded_lost_percent": Figure("ping", "ping beside 1 TCP stream: lost, %", "lower"),
    "idle_memory_mbytes": Figure("idle", "idle, one peer: memory, MB", "lower"),
    "idle_cpu_percent": Figure("idle", "idle, one peer: processor time, % of a core", "lower"),
    "idle_wakeups_per_second": Figure("idle", "idle, one peer: wakeups a second", "lower"),
    "fairness_deviation_percent": Figure("fairness", "many peers send: farthest from their mean, %", "lower"),
    "fairness_mbits": Figure("fairness", "many peers send: TCP of all together, Mbit/s", "higher"),
    "setconf_seconds": Figure("handshakes", "wg setconf, 50 prefixes a peer, s", "lower"),
    "handshakes_per_second": Figure("handshakes", "handshakes a second", "higher"),
    "handshake_cpu_ms": Figure("handshakes", "processor time of a handshake, ms", "lower"),
    "all_at_once_seconds": Figure("handshakes", "all peers call at once: last one, s", "lower"),
    "memory_kbytes_per_peer": Figure("handshakes", "memory of a peer, kB", "lower"),
}
PARTS: tuple[Part, ...] = tuple(dict.fromkeys(figure.part for figure in FIGURES.values()))


def runs_of(part: Part, runs: int) -> int:
    """How often a part is measured when the whole benchmark makes `runs` runs."""
    return min(runs, MOST_RUNS.get(part, runs))
