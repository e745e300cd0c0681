"""One run: a device with very many peers and prefixes, who all call it.

Job: set up, measure, take away. Refuses to compare. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from agent.wireguard.x25519 import PrivateKey
from tests.bench.process import cpu, memory
from tests.lab.namespaces import wired_pair
from tests.lab.tunnels import PORT, Program, start, wg

PREFIXES = 50
"""Of each peer."""
_FIRST_ADDRESS = "198.18.0.1"


def handshakes(program: Program, peers: int) -> dict[str, float]:
    """What a device does with `peers` peers that call it."""
    keys = [PrivateKey(os.urandom(32)) for _ in range(peers)]
    with wired_pair("bench") as (left, right), tempfile.TemporaryDirectory() as folder:
        right.run("ip", "route", "add", "local", "198.18.0.0/16", "dev", "lo")
        left.run("ip", "route", "add", "198.18.0.0/16", "via", right.v4)
        server = start(left, program)
        server.up()
        before = memory(server, "VmRSS")
        file = Path(folder, "wg.conf")
        file.touch(0o600)
        file.write_text(_configuration(server.private_key, keys))
        begin = time.monotonic()
        wg("setconf", server.interface, str(file))
        figures = {"setconf_seconds": time.monotonic() - begin}
        order = {
            "server": base64.b64decode(server.public_key).hex(),
            "address": left.v4,
            "port": PORT,
            "first_address": _FIRST_ADDRESS,
            "private_keys": [key.data.hex() for key in keys],
        }
        used = cpu(server)
        done = right.run(sys.executable, "-m", "tests.bench.callers", stdin=json.dumps(order), timeout=180)
        figures.update(json.loads(done.stdout))
        figures["handshake_cpu_ms"] = (cpu(server) - used) / (2 * peers) * 1e3
        figures["memory_kbytes_per_peer"] = (memory(server, "VmRSS") - before) * 1e3 / peers
        return figures


def _configuration(private_key: str, keys: list[PrivateKey]) -> str:
    parts = [f"[Interface]\nPrivateKey = {private_key}\nListenPort = {PORT}\n"]
    for number, key in enumerate(keys):
        first = number * PREFIXES
        prefixes = ", ".join(_prefix(each) for each in range(first, first + PREFIXES))
        public_key = base64.b64encode(key.public).decode()
        parts.append(f"[Peer]\nPublicKey = {public_key}\nAllowedIPs = {prefixes}\n")
    return "".join(parts)


def _prefix(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"
