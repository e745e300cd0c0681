"""`python -m tests.bench`: runs of ours and of another WireGuard program in turn, a table, and a JSON file.

What the figures are stands in tests/bench/figures.py, what is in the file in tests/bench/compare.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Optional

from tests.bench.compare import SIDES, Side, document, heading, notes, table
from tests.bench.crowd import handshakes
from tests.bench.fairness import fairness
from tests.bench.figures import Part, runs_of
from tests.bench.idle import idle
from tests.bench.machine import busy, described, described_ours, machine
from tests.bench.options import Options, parse
from tests.bench.traffic import pings, tcp, udp
from tests.lab.tunnels import COMMANDS, Program

_NEEDS = ("wg", "iperf3", "ping", "ip", "ss")
_OFFLOAD_VARIABLE = "FLEET_TUNNEL_WITHOUT"
_FAILURES = (AssertionError, ArithmeticError, LookupError, OSError, ValueError, subprocess.SubprocessError)
"""What a program that does less than it should, or a machine without something, leads to."""

Figures = dict[str, float]


def main() -> int:
    options = parse()
    programs: dict[Side, Program] = {
        "ours": _ours(options),
        "against": Program(options.name, options.against),
    }
    obstacle = _obstacle(options)
    if obstacle:
        print(f"bench: {obstacle}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before, load = machine(), os.getloadavg()
    runs, failures, shares = _measure(programs, options)
    names = {side: program.name for side, program in programs.items()}
    host = {**before, "load_before": load, "load_after": os.getloadavg(), "busy": shares}
    about: dict[Side, dict[str, object]] = {
        "ours": described_ours(programs["ours"]),
        "against": described(programs["against"]),
    }
    said = [*notes(runs, names, os.cpu_count() or 1, shares), *failures]
    text = "\n".join([heading(host, about), "", table(runs, names["against"]), "", *said])
    print(text)
    _save(options.output, text, document(runs, host, about, _settings(options), said))
    return 1 if failures else 0


def _ours(options: Options) -> Program:
    without = {_OFFLOAD_VARIABLE: ",".join(options.without)} if options.without else {}
    return Program("ours", COMMANDS["ours"], without)


def _obstacle(options: Options) -> Optional[str]:
    """Why nothing can be measured, and what to do about it."""
    if os.geteuid() != 0:
        return "it makes network namespaces; run it as root"
    for command in (*_NEEDS, options.against[0]):
        if shutil.which(command) is None:
            return f"{command} is not on this machine; install it"
    return None


def _parts(options: Options) -> Mapping[Part, Callable[[Program], Figures]]:
    load = options.seconds, options.congestion
    return {
        "tcp": lambda program: tcp(program, *load),
        "udp": lambda program: udp(program, options.seconds),
        "ping": lambda program: pings(program, *load),
        "idle": lambda program: idle(program, options.idle_seconds),
        "fairness": lambda program: fairness(program, options.seconds, options.peers, options.congestion),
        "handshakes": lambda program: handshakes(program, options.callers),
    }


def _measure(
    programs: Mapping[Side, Program], options: Options
) -> tuple[dict[Side, list[Figures]], list[str], list[float]]:
    """All runs, a sentence for everything that could not be measured, and how busy others were before each.

    Who is first alternates.
    """
    runs: dict[Side, list[Figures]] = {side: [] for side in SIDES}
    failures: list[str] = []
    shares: list[float] = []
    begin = time.monotonic()
    parts = _parts(options)
    for number in range(options.runs):
        for done in runs.values():
            done.append({})
        for part in options.parts:
            if number >= runs_of(part, options.runs):
                continue
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                what = f"{programs[side].name}, {part}, run {number + 1}"
                shares.append(busy())
                try:
                    figures = parts[part](programs[side])
                except _FAILURES as error:
                    figures = {}
                    failures.append(f"failed: {what}: {' '.join(str(error).split())}")
                    said = failures[-1]
                else:
                    said = f"{what} of {options.runs}: {_said(figures)}"
                runs[side][-1].update(figures)
                print(f"{time.monotonic() - begin:4.0f} s: {said}", file=sys.stderr, flush=True)
    return runs, failures, shares


def _said(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _settings(options: Options) -> dict[str, object]:
    """Without what stands elsewhere in the document."""
    return {
        name: value
        for name, value in asdict(options).items()
        if name not in ("against", "name", "without", "output")
    }


def _save(file: Path, text: str, saved: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(saved, indent=2) + "\n")
    file.with_suffix(".txt").write_text(text + "\n")
    print(f"saved in {file} and {file.with_suffix('.txt')}", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
