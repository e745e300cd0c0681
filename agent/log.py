"""One line an event, to stderr. Called by everything of the agent that lives long.

journald adds the time itself; elsewhere the line carries it. A log that cannot be written (a full disk,
a reader that is gone) never stops what it tells of.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time


def log(text: str) -> None:
    """Prints `text` as one line; it must not hold a secret."""
    line = " ".join(text.split())
    if "JOURNAL_STREAM" not in os.environ:
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
