"""What holds for all tests.

Property tests have no deadline: how long an example takes depends on what else the machine does. Tests that
are marked `kernel` run where the kernel has WireGuard, and `tests/emulated` runs all of them in a machine
whose kernel has it.
"""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import settings

settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")

WITHOUT_KERNEL = "this kernel has no WireGuard; tests/emulated runs this test on one that has"


@pytest.hookimpl(trylast=True)  # after what -m leaves out is out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("kernel")]
    if needing and not _kernel_has_wireguard():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=WITHOUT_KERNEL))


def _kernel_has_wireguard() -> bool:
    probe = subprocess.run(["ip", "link", "add", "fleetprobe", "type", "wireguard"], capture_output=True)
    if probe.returncode == 0:
        subprocess.run(["ip", "link", "delete", "fleetprobe"], check=True)
    return probe.returncode == 0
