"""A tunnel as a process of a session of its own, which outlives whoever started it.

Called by service, where no systemd started the agent, and by quick. Refuses to wait for it.
"""

from __future__ import annotations

import subprocess

from agent import places


def start_tunnel(interface: str, heard_by: int) -> subprocess.Popen[bytes]:
    """What it says until it runs is the caller's to read, and then goes to the file `heard_by`.

    Raises OSError.
    """
    return subprocess.Popen(
        [*places.program(), "tunnel", interface, "--log-stdout"],
        stdin=subprocess.DEVNULL,
        stdout=heard_by,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
