"""What the benchmark makes of its runs."""

from __future__ import annotations

import json

import pytest

from tests.bench.compare import Runs, Side, document, heading, notes, table
from tests.bench.figures import FIGURES, PARTS, runs_of

NAMES: dict[Side, str] = {"ours": "ours", "against": "wireguard-go"}


def runs() -> Runs:
    def run(factor: float) -> dict[str, float]:
        return {figure: factor * number for number, figure in enumerate(FIGURES, 1)}

    return {"ours": [run(1), run(300), run(30)], "against": [run(20), run(1), run(900)]}


def saved(runs: Runs) -> dict[str, dict[str, object]]:
    figures: dict[str, dict[str, object]] = document(runs, {}, {"ours": {}, "against": {}}, {}, [])["figures"]
    return figures


def test_medians_and_ratios_not_means() -> None:
    figures = saved(runs())
    assert list(figures) == list(FIGURES)
    for number, figure in enumerate(FIGURES, 1):
        assert figures[figure]["medians"] == {"ours": 30 * number, "against": 20 * number}
        assert figures[figure]["ratio"] == 1.5
        assert figures[figure]["runs"] == {
            "ours": [number, 300 * number, 30 * number],
            "against": [20 * number, number, 900 * number],
        }


def test_the_table_has_a_line_for_each_figure() -> None:
    head, *lines = table(runs(), "wireguard-go").splitlines()
    assert head.split()[-5:] == ["ours", "wireguard-go", "ratio", "better", "runs"]
    assert [line.split()[-5:] for line in lines] == [
        [str(30 * number), str(20 * number), "1.50", figure.better, "3"]
        for number, figure in enumerate(FIGURES.values(), 1)
    ]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_only_what_was_measured_is_compared() -> None:
    some: Runs = {"ours": [{"udp_64_pps": 2.0}, {}], "against": [{"udp_64_pps": 4.0}, {}]}
    assert list(saved(some)) == ["udp_64_pps"]
    assert table(some, "go").splitlines()[1].split()[-5:] == ["2", "4", "0.50", "higher", "1"]


def test_what_has_no_ratio_says_so() -> None:
    """One side has nothing, or the other's is zero; numbers that JSON does not have are not written."""
    some: Runs = {
        "ours": [{"udp_64_pps": 2.0, "idle_cpu_percent": 0.1}],
        "against": [{"idle_cpu_percent": 0.0}],
    }
    figures = saved(some)
    assert figures["udp_64_pps"]["medians"] == {"ours": 2.0, "against": None}
    assert figures["udp_64_pps"]["ratio"] is figures["idle_cpu_percent"]["ratio"] is None
    assert [line.split()[-5:-2] for line in table(some, "go").splitlines()[1:]] == [
        ["2", "-", "-"],
        ["0.1", "0", "-"],
    ]
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(
    ("number", "shown"), [(0.0123456, "0.0123"), (99.96, "100"), (1234567.8, "1234568"), (7.0, "7")]
)
def test_numbers_are_short_and_without_exponent(number: float, shown: str) -> None:
    some: Runs = {"ours": [{"udp_64_pps": number}], "against": [{}]}
    assert table(some, "go").splitlines()[1].split()[-5] == shown


def test_whether_iperf3_was_the_limit() -> None:
    figures = {
        "udp_64_pps": 100.0,
        "udp_64_sent_pps": 300.0,
        "udp_1420_pps": 100.0,
        "udp_1420_sent_pps": 101.0,
    }
    said = notes({"ours": [figures], "against": [{}]}, NAMES, 2, [0.01])
    assert said[1:] == [
        "UDP, 64 bytes, ours: 3.0 x as many were sent, iperf3 is not the limit",
        "UDP, 1420 bytes, ours: 1.0 x as many were sent, iperf3 is the limit: the tunnel may be faster",
    ]


def test_a_busy_machine_is_told() -> None:
    nothing: Runs = {"ours": [], "against": []}
    assert notes(nothing, NAMES, 8, [0.0, 0.1]) == notes(nothing, NAMES, 8, [])
    told = notes(nothing, NAMES, 8, [0.02, 0.125, 0.8])[1]
    assert told.startswith(
        "others used more than 10% of the processors before 2 of 3 measurements, at most 80%"
    )


def test_the_heading_says_where_and_what() -> None:
    machine = {
        "started": "2026-01-01T00:00:00+00:00",
        "processor": "EPYC",
        "processors": 2,
        "kernel": "6.1",
        "python": "3.11.2",
        "packages": {"PyNaCl": "1.6"},
        "iperf3": "iperf 3.12",
        "load_before": (0.1, 0.2, 0.3),
        "load_after": (1.0, 1.0, 1.0),
    }
    ours = {"name": "ours", "command": ["py", "-m", "x"], "environment": {"A": "gso"}, "version": "abc"}
    other = {"name": "go", "command": ["go", "-f"], "environment": {}, "version": "v1"}
    said = heading(machine, {"ours": ours, "against": other})
    for part in (
        "EPYC",
        "2 processors",
        "Linux 6.1",
        "Python 3.11.2",
        "PyNaCl 1.6",
        "iperf 3.12",
        "0.10 0.20 0.30",
    ):
        assert part in said
    assert said.splitlines()[-2:] == ["ours: A=gso py -m x (abc)", "go: go -f (v1)"]


def test_costly_parts_run_less_often() -> None:
    assert [runs_of(part, 5) for part in PARTS] == [5, 3, 5, 1, 1, 1]
    assert {runs_of(part, 1) for part in PARTS} == {1}
