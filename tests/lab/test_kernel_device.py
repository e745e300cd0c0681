"""The kernel's device with hundreds of peers and tens of thousands of prefixes, and what the agent costs."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bundle import Bundle, Peer
from tests.lab.agents import agent_pair, linked
from tests.lab.test_host import Machine, change, machines, wanted

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.kernel]

PEERS, PREFIXES = 200, 100


def crowd_of(count: int) -> tuple[Peer, ...]:
    """So many peers, and PREFIXES behind each."""
    return tuple(
        Peer(
            name=f"peer{number}",
            public_key=base64.b64encode(bytes([number % 256, number >> 8]) + b"k" * 30).decode(),
            preshared_key=None,
            endpoint=f"192.0.2.77:{1024 + number}",
            allowed_ips=tuple(
                sorted(f"10.{100 + (number >> 8)}.{number & 255}.{n}/32" for n in range(PREFIXES))
            ),
        )
        for number in range(count)
    )


def crowd(machine: Machine, other: Machine) -> Bundle:
    """A bundle with PEERS peers more."""
    bundle = wanted(machine, other, "kernel")
    return change(bundle, peers=(*bundle.interfaces[0].peers, *crowd_of(PEERS)))


def test_a_crowd_is_set_read_back_and_changed_one_by_one(tmp_path: Path) -> None:
    with machines("kernel", tmp_path) as (left, right):
        bundle = crowd(left, right)
        left.apply(bundle)
        shown = left.space.output("wg", "show", left.interface, "allowed-ips").splitlines()
        assert len(shown) == PEERS + 1
        assert sum(len(line.split()) - 1 for line in shown) == PEERS * PREFIXES + 2

        *others, last = bundle.interfaces[0].peers
        done = left.apply(change(bundle, peers=(*others, replace(last, persistent_keepalive=25))))
        assert [(one.item, one.expected) for one in done] == [
            (f"{left.interface} peer {last.name} persistent_keepalive", 25)
        ]


IDLE_SECONDS = 40
MOST_MEMORY = 40 << 10
"""In KiB."""


def seconds_of(process: int) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: int) -> int:
    """What a process has in memory, in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_an_agent_with_hundreds_of_peers_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    """What it takes of the processors is printed: that of an emulated one is ten times a real one's."""
    with agent_pair() as (here, there):
        here.start()
        (process,) = here.services()
        before = seconds_of(process)
        bundle, secrets = linked(here, there)
        here.apply(_with_a_crowd(bundle), secrets)
        (interface,) = here.report().observed.interfaces
        assert (interface.backend, len(interface.peers)) == ("kernel", PEERS + 1)
        converged = seconds_of(process)
        time.sleep(IDLE_SECONDS)
        idle = seconds_of(process) - converged
        memory = memory_of(process)
        with capsys.disabled():
            print(
                f"\nagent with {PEERS} peers of the kernel's: {memory} KiB; processor seconds: "
                f"{converged - before:.2f} to converge, {idle:.2f} in {IDLE_SECONDS} idle ones"
            )
        assert memory < MOST_MEMORY


def _with_a_crowd(bundle: Bundle) -> Bundle:
    (interface,) = bundle.interfaces
    more = tuple(replace(one, allowed_ips=one.allowed_ips[:1]) for one in crowd_of(PEERS))
    crowded = replace(interface, backend="auto", peers=(*interface.peers, *more))
    return replace(bundle, interfaces=(crowded,))
