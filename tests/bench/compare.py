"""Runs of both programs side by side: medians and ratios, as a table and as JSON. Pure.

The JSON, an object:

    version   2; another number where something below changes its meaning
    machine   what it ran on: processor, processors, kernel, python, packages, iperf3, started (UTC),
              load_before and load_after (three averages each), busy (what others used of all
              processors before each measurement, 0 to 1)
    programs  {"ours": P, "against": P}; P is {"name", "command", "environment", "version"}
    settings  how it was called: runs, seconds, idle_seconds, peers, callers, congestion, parts
    figures   by name: {"title" with its unit, "better": "higher", "lower" or "neither", "runs": {"ours": [],
              "against": []} in the order they were measured, "medians": {"ours", "against"}, "ratio"}.
              A median is null where a program gave no figure, the ratio (ours / against) also where it
              would divide by zero
    notes     sentences that the table ends with: what to bear in mind, and what failed
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional

from tests.bench.figures import FIGURES, UDP_SIZES

Side = Literal["ours", "against"]
SIDES: tuple[Side, ...] = ("ours", "against")
Runs = Mapping[Side, Sequence[Mapping[str, float]]]
"""For each side its runs in order; a run may lack figures."""

_QUIET = 0.1
_ENOUGH = 1.2
"""So much more than what arrives must have been sent for the sender not to be the limit."""


def values(runs: Runs, side: Side, figure: str) -> list[float]:
    """What the runs of one side have of a figure."""
    return [run[figure] for run in runs[side] if figure in run]


def median(runs: Runs, side: Side, figure: str) -> Optional[float]:
    """None where no run of that side has the figure."""
    found = values(runs, side, figure)
    return statistics.median(found) if found else None


def ratio(ours: Optional[float], against: Optional[float]) -> Optional[float]:
    """None where there is none."""
    return None if ours is None or not against else ours / against


def measured(runs: Runs) -> list[str]:
    """The figures that at least one side has."""
    return [figure for figure in FIGURES if any(values(runs, side, figure) for side in SIDES)]


def heading(machine: Mapping[str, Any], programs: Mapping[Side, Mapping[str, Any]]) -> str:
    """Lines that say where this was measured, and what; from the values of the document."""
    packages = ", ".join(f"{package} {told}" for package, told in machine["packages"].items())
    before, after = (
        " ".join(f"{each:.2f}" for each in machine[key]) for key in ("load_before", "load_after")
    )
    lines = [
        f"{machine['started']}, {machine['processor']}, {machine['processors']} processors, "
        f"Linux {machine['kernel']}",
        f"Python {machine['python']}, {packages}, {machine['iperf3']}; load before {before}, after {after}",
    ]
    for side in SIDES:
        fields = programs[side]
        setting = "".join(f"{key}={value} " for key, value in fields["environment"].items())
        lines.append(f"{fields['name']}: {setting}{' '.join(fields['command'])} ({fields['version']})")
    return "\n".join(lines)


def table(runs: Runs, against: str) -> str:
    """A line for each figure: both medians, ours divided by the other's, what is better, of how many runs."""
    rows = [("median of the runs", "ours", against, "ratio", "better", "runs")]
    for figure in measured(runs):
        ours, other = (median(runs, side, figure) for side in SIDES)
        count = max(len(values(runs, side, figure)) for side in SIDES)
        title, better = FIGURES[figure].title, FIGURES[figure].better
        rows.append((title, _number(ours), _number(other), _ratio(ratio(ours, other)), better, str(count)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )


def _number(number: Optional[float]) -> str:
    """Three digits that count, and no exponent."""
    if number is None:
        return "-"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _ratio(number: Optional[float]) -> str:
    return "-" if number is None else f"{number:.2f}"


def notes(runs: Runs, names: Mapping[Side, str], processors: int, busy: Sequence[float]) -> list[str]:
    """What to bear in mind; `busy` is what others used of all processors, at each look from 0 to 1."""
    said = [f"iperf3, ping and both ends of the tunnel share {processors} processors"]
    disturbed = sum(share > _QUIET for share in busy)
    if disturbed:
        said.append(
            f"others used more than {_QUIET:.0%} of the processors before {disturbed} of {len(busy)} "
            f"measurements, at most {max(busy):.0%}: trust ratios more than figures"
        )
    for size in UDP_SIZES:
        said.extend(_sender(runs, names, size))
    return said


def _sender(runs: Runs, names: Mapping[Side, str], size: int) -> list[str]:
    """Whether what arrived says something of the tunnel or of iperf3 alone."""
    said = []
    for side in SIDES:
        arrived = median(runs, side, f"udp_{size}_pps")
        sent = median(runs, side, f"udp_{size}_sent_pps")
        factor = ratio(sent, arrived)
        if factor is not None:
            says = "not the limit" if factor >= _ENOUGH else "the limit: the tunnel may be faster"
            said.append(
                f"UDP, {size} bytes, {names[side]}: {factor:.1f} x as many were sent, iperf3 is {says}"
            )
    return said


def document(
    runs: Runs,
    machine: Mapping[str, object],
    programs: Mapping[Side, Mapping[str, object]],
    settings: Mapping[str, object],
    said: Sequence[str],
) -> dict[str, Any]:
    """What is saved; the module says how it looks."""
    figures = {}
    for figure in measured(runs):
        medians = {side: median(runs, side, figure) for side in SIDES}
        figures[figure] = {
            "title": FIGURES[figure].title,
            "better": FIGURES[figure].better,
            "runs": {side: values(runs, side, figure) for side in SIDES},
            "medians": medians,
            "ratio": ratio(medians["ours"], medians["against"]),
        }
    return {
        "version": 2,
        "machine": dict(machine),
        "programs": {side: dict(programs[side]) for side in SIDES},
        "settings": dict(settings),
        "figures": figures,
        "notes": list(said),
    }
