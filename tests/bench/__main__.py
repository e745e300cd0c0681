"""`python -m tests.bench`: runs of ours and of wireguard-go in turn, a table, and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from tests.bench.compare import document, table
from tests.bench.crowd import measure_crowd
from tests.bench.measure import measure
from tests.lab.tunnels import Kind


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="length of each iperf3 (default: %(default)s)")
    parser.add_argument(
        "--peers", type=int, default=1000, help="of the device that all call at once (default: %(default)s)"
    )
    parser.add_argument("--crowd-only", action="store_true", help="measure nothing but that device")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(".cache/bench.json"),
        help="where it is saved (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the benchmark makes network namespaces: run it as root", file=sys.stderr)
        return 1
    runs: dict[Kind, list[dict[str, float]]] = {"ours": [], "wireguard-go": []}
    for number in range(arguments.runs):
        for kind, done in runs.items():
            figures = {} if arguments.crowd_only else measure(kind, arguments.seconds)
            figures.update(measure_crowd(kind, arguments.peers))
            done.append(figures)
            said = ", ".join(f"{name} {figure:.3g}" for name, figure in figures.items())
            print(f"run {number + 1}, {kind}: {said}", file=sys.stderr)
    print(table(runs))
    machine = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load_before": os.getloadavg()[2],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document(runs, machine), indent=2) + "\n")
    print(f"saved in {arguments.output}", file=sys.stderr)
    return 0


sys.exit(main())
