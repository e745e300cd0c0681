"""The kernel's device with hundreds of peers and tens of thousands of prefixes: set, read back, changed."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bundle import Bundle, Peer
from tests.lab.test_host import Machine, change, machines, wanted

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.kernel]

PEERS, PREFIXES = 200, 100


def crowd(machine: Machine, other: Machine) -> Bundle:
    """A bundle with PEERS peers more, and PREFIXES behind each."""
    bundle = wanted(machine, other, "kernel")
    more = tuple(
        Peer(
            name=f"peer{number}",
            public_key=base64.b64encode(bytes([number % 256, number >> 8]) + b"k" * 30).decode(),
            preshared_key=None,
            endpoint=f"192.0.2.77:{1024 + number}",
            allowed_ips=tuple(
                sorted(f"10.{100 + (number >> 8)}.{number & 255}.{n}/32" for n in range(PREFIXES))
            ),
        )
        for number in range(PEERS)
    )
    return change(bundle, peers=(*bundle.interfaces[0].peers, *more))


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
