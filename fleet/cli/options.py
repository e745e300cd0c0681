"""Options that several commands share, with one help text each."""

from __future__ import annotations

from typing import Annotated

import typer

Limit = Annotated[
    str | None,
    typer.Option(
        "--limit", "-l", metavar="PATTERN", help="Only these hosts, an Ansible pattern: 'core:!fra1', '*.eu'."
    ),
]
Forks = Annotated[int, typer.Option("--forks", "-f", min=1, max=500, help="How many hosts at a time.")]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=1, help="Seconds that connecting and each question to a host may take."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, and nothing else there.")]
