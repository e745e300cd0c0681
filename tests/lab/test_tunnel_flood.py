"""Our tunnel under attack, as a process: who has a session keeps it, who wants one gets it afterwards."""

from __future__ import annotations

import base64
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.namespaces import Namespace, third, wired_pair
from tests.lab.tunnels import PORT, Tunnel, introduce, ping, received, start, wg

pytestmark = pytest.mark.lab

MOST_GROWTH = 16
"""Megabytes: 4096 handshake messages may wait, 65536 sources be counted. Socket buffers are the kernel's."""

_INITIATIONS = """
import hashlib, os, socket, sys
address, port, key = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
count, sockets = map(int, sys.argv[4:])
mac_key = hashlib.blake2s(b"mac1----" + key).digest()
messages = []
for _ in range(count):
    body = b"\\1\\0\\0\\0" + os.urandom(112)
    messages.append(body + hashlib.blake2s(body, key=mac_key, digest_size=16).digest() + bytes(16))
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
for number, message in enumerate(messages):
    socks[number % sockets].sendto(message, (address, port))
"""
_NOISE = """
import os, random, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = (sys.argv[1], int(sys.argv[2]))
for kind in range(6):
    for size in [*range(1501), *random.Random(kind).sample(range(1501, 65508), 20)]:
        sock.sendto((bytes([kind, 0, 0, 0]) + os.urandom(size))[:size] if kind else os.urandom(size), to)
"""


@pytest.fixture
def attacked() -> Iterator[tuple[Tunnel, Tunnel, Namespace]]:
    """Ours with a session, its peer, and a namespace of the attacker's."""
    with wired_pair() as (left, right), third(left, "wire1", 72) as attacker:
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other)
        assert ping(ours, other.inner4) == 3
        yield ours, other, attacker


@contextmanager
def asked_all_the_while(tunnel: Tunnel) -> Iterator[list[float]]:
    """How many seconds each `wg show` took meanwhile."""
    took: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            begin = time.monotonic()
            tunnel.show("dump")
            took.append(time.monotonic() - begin)
            done.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        done.set()
        asking.join()


def memory(tunnel: Tunnel) -> float:
    """Megabytes resident now."""
    status = Path(f"/proc/{tunnel.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1e3


@pytest.mark.parametrize(
    ("script", "extra"),
    [
        (_INITIATIONS, ("8000", "1")),
        (_INITIATIONS, ("8000", "500")),
        (_NOISE, ()),
    ],
    ids=["initiations", "initiations-from-500-ports", "noise-of-every-length"],
)
def test_a_flood_stalls_nothing(
    attacked: tuple[Tunnel, Tunnel, Namespace], script: str, extra: tuple[str, ...]
) -> None:
    ours, other, attacker = attacked
    target: tuple[str, ...] = ("198.18.72.1", str(PORT))
    if extra:
        target = (*target, base64.b64decode(ours.public_key).hex())
    before, session = memory(ours), ours.latest_handshake()
    pings = other.space.start("ping", "-q", "-i", "0.02", "-c", "150", "-W", "2", ours.inner4)
    with asked_all_the_while(ours) as took:
        for _ in range(3):
            attacker.run(sys.executable, "-c", script, *target, *extra)
        output, _ = pings.communicate(timeout=60)
    assert max(took) < 2
    assert received(output) >= 120  # the kernel's buffer may overflow
    assert ours.latest_handshake() == session
    assert memory(ours) - before < MOST_GROWTH

    time.sleep(2)
    private_key = wg("genkey")
    newcomer = wg("pubkey", stdin=private_key)
    ours.set("peer", newcomer, "allowed-ips", f"{other.inner4}/32")
    other.set("private-key", "/dev/stdin", stdin=private_key)
    assert ping(other, ours.inner4, 1, "-W", "2") == 1
