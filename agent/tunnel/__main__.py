"""`python -m agent.tunnel IFACE`: the tunnel without the rest of the agent."""

from __future__ import annotations

import sys

from agent.tunnel.main import run

if len(sys.argv) != 2:
    sys.exit("usage: python -m agent.tunnel IFACE")
sys.exit(run(sys.argv[1]))
