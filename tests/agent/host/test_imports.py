"""What the resident agent imports stays in memory on every host."""

from __future__ import annotations

import subprocess
import sys


def test_of_pyroute2_only_what_is_needed_is_imported() -> None:
    program = "import sys, agent.host.host; print(*(m for m in sys.modules if m.startswith('pyroute2.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "pyroute2.iproute.linux" in imported
    assert not {"pyroute2.ndb", "pyroute2.ipdb", "pyroute2.netlink.nl80211"} & set(imported)
