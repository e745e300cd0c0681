"""What the benchmark makes of its runs."""

from __future__ import annotations

from tests.bench.compare import CROWD, FIGURES, Runs, document, table


def runs() -> Runs:
    def run(factor: float) -> dict[str, float]:
        return {figure: factor * number for number, figure in enumerate(FIGURES, 1)}

    return {"ours": [run(1), run(300), run(30)], "wireguard-go": [run(20), run(1), run(900)]}


def test_medians_and_ratios_not_means() -> None:
    medians = document(runs(), {"processors": 2})["medians"]
    for number, figure in enumerate(FIGURES, 1):
        assert medians[figure] == {"ours": 30 * number, "wireguard-go": 20 * number, "ratio": 1.5}


def test_the_table_has_a_line_for_each_figure() -> None:
    head, *lines = table(runs()).splitlines()
    assert head.startswith("median of 3 runs")
    assert [line.split()[-3:] for line in lines] == [
        [str(30 * number), str(20 * number), "1.50"] for number in range(1, len(FIGURES) + 1)
    ]


def test_only_what_was_measured_is_compared() -> None:
    only: Runs = {kind: [dict.fromkeys(CROWD, 2.0)] for kind in ("ours", "wireguard-go")}
    assert len(table(only).splitlines()) == 1 + len(CROWD)
    assert list(document(only, {})["medians"]) == list(CROWD)
