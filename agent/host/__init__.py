"""How a host is observed and changed: WireGuard devices of both kinds, links, addresses, routes.

The package pyroute2 imports all of itself when it is imported, which costs a third of the agent's memory
and of its start. Its modules need none of that: here the package is made without running its __init__.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def _spare_pyroute2() -> None:
    found = None if "pyroute2" in sys.modules else find_spec("pyroute2")
    if found is not None:
        sys.modules["pyroute2"] = module_from_spec(found)


_spare_pyroute2()
