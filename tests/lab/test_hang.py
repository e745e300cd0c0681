"""A tunnel that hangs, on a real device: found out, and replaced with all that was on it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from agent.host import tunnel
from agent.host.host import Host
from agent.host.userspace import UserspaceDevice
from tests.lab.test_host import machines, pings, spawner, wanted

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("kind", ["wireguard-go", "ours"])
def test_a_tunnel_that_hangs_is_replaced(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "SILENT_SECONDS", 0.1)
    with machines(kind, tmp_path) as (left, right):
        left.host = Host(spawner(left, kind), userspace=UserspaceDevice(patience=0.5))
        for here, there in ((left, right), (right, left)):
            here.apply(wanted(here, there, kind))
        (process,) = left.processes
        os.kill(process.pid, signal.SIGSTOP)
        assert [interface.answers for interface in left.observe().interfaces] == [False]
        left.apply(wanted(left, right, kind))
        assert process.poll() == -signal.SIGKILL
        assert len(left.processes) == 2
        assert left.observe().interfaces[0].answers
        assert pings(left, "10.66.0.2") == 3
