"""Options that several commands share, with one help text each, and their exit code when interrupted."""

from __future__ import annotations

from typing import Annotated

import typer

INTERRUPTED = 130
"""The exit code of who was told to stop."""

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
