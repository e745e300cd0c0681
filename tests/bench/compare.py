"""Runs of both kinds side by side: medians and ratios, as a table and as JSON. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.lab.tunnels import Kind

FIGURES = {
    "tcp_mbits": "TCP, 1 stream, Mbit/s",
    "tcp_reverse_mbits": "TCP, 1 stream back, Mbit/s",
    "tcp_8_streams_mbits": "TCP, 8 streams, Mbit/s",
    "ping_ms": "ping, ms",
    "cpu_seconds_per_gbyte": "processor time of both ends, s/GB",
    "memory_mbytes": "memory of one end, MB",
}
CROWD = {
    "setconf_seconds": "wg setconf, 50 prefixes a peer, s",
    "handshakes_per_second": "handshakes a second",
    "handshake_cpu_ms": "processor time of a handshake, ms",
    "all_at_once_seconds": "all peers call at once: last one, s",
    "memory_kbytes_per_peer": "memory of a peer, kB",
}
"""With very many peers; a run has these, those above, or both."""

Runs = Mapping[Kind, Sequence[Mapping[str, float]]]


def measured(runs: Runs) -> dict[str, str]:
    """The figures that the runs have, and their titles."""
    return {figure: title for figure, title in {**FIGURES, **CROWD}.items() if figure in runs["ours"][0]}


def medians(runs: Runs, figure: str) -> tuple[float, float]:
    """Ours and wireguard-go's."""
    ours, other = (statistics.median(run[figure] for run in runs[kind]) for kind in ("ours", "wireguard-go"))
    return ours, other


def table(runs: Runs) -> str:
    """A line for each figure: both medians, and ours divided by wireguard-go's."""
    lines = [
        f"{'median of ' + str(len(runs['ours'])) + ' runs':36}{'ours':>10}{'wireguard-go':>14}{'ratio':>8}"
    ]
    for figure, title in measured(runs).items():
        ours, other = medians(runs, figure)
        lines.append(f"{title:36}{ours:10.3g}{other:14.3g}{ours / other:8.2f}")
    return "\n".join(lines)


def document(runs: Runs, machine: Mapping[str, object]) -> dict[str, Any]:
    """What is saved: every run, and what the table says."""
    results = {}
    for figure in measured(runs):
        ours, other = medians(runs, figure)
        results[figure] = {"ours": ours, "wireguard-go": other, "ratio": ours / other}
    return {"version": 1, "machine": dict(machine), "medians": results, "runs": dict(runs)}
