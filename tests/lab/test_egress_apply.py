"""`fleet_egress` as an operator uses it: in, apply, out again, apply, though the hub is dead by then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.mesh import FLEET, ROOT, Mesh, mesh
from tests.lab.test_gateway import CALL, LISTEN

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FRA1, NYC1 = "198.18.1.10", "198.18.2.30"
EGRESS = {
    "fra1: {ansible_host: 198.18.1.10}": "fra1: {ansible_host: 198.18.1.10, fleet_masquerade: [eth0]}",
    "fleet_subnets: [192.168.20.0/24": "fleet_egress: fra1\n          fleet_subnets: [192.168.20.0/24",
}
PICTURE = """
for family in -4 -6; do ip $family rule; ip $family route show table all | grep -v fe80 | sort; done
nft list ruleset; cat /proc/sys/net/ipv4/conf/all/src_valid_mark; ls /run/fleet-agent
"""  # addresses of a link change at reboot, and with them the order in which the kernel lists its routes


@contextmanager
def server(lab: Mesh, host: str) -> Iterator[Iterator[str]]:
    """Who calls port 7 of a host: their addresses, as it sees them."""
    command = (FLEET, "lab", "exec", lab.inventory, host, "--", "python3", "-uc", LISTEN)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield (line.split()[0] for line in process.stdout)
        finally:
            lab.inside(host, "pkill", "-f", "TCP_SAVE_SYN")


def calls(lab: Mesh, caller: str, seen: Iterator[str]) -> str:
    """As whom nyc1 sees `caller` outside of the fleet."""
    assert lab.output(caller, "python3", "-c", CALL, NYC1).strip() == "hello"
    return next(seen)


def test_out_through_a_hub_and_back(tmp_path: Path) -> None:
    with mesh(ROOT / "inventories" / "lab.yml", tmp_path) as lab:
        lab.must("apply", "INVENTORY", "--yes")
        plain = lab.inventory.read_text()
        before = lab.output("oslo", "sh", "-c", PICTURE)
        with server(lab, "nyc1") as seen:
            router = calls(lab, "oslo", seen)
            assert router not in (FRA1, NYC1)

            text = plain
            for old, new in EGRESS.items():
                assert old in text
                text = text.replace(old, new, 1)
            lab.inventory.write_text(text)
            said = lab.must("apply", "INVENTORY", "--yes")
            assert "+ egress     wg0: everything via fra1" in said
            assert "note: fleet_egress" not in said
            for caller in ("oslo", "oslo/client"):
                assert calls(lab, caller, seen) == FRA1
            again = lab.json("apply", "INVENTORY", "--yes")["hosts"]
            assert {host["result"] for host in again.values()} == {"unchanged"}
            lab.must("lab", "reboot", "INVENTORY", "oslo")
            assert lab.json("apply", "INVENTORY", "--yes")["ok"] is True
            assert calls(lab, "oslo", seen) == FRA1

            lab.output("fra1", "ip", "link", "set", "eth0", "down")
            lab.inventory.write_text(plain)
            done = lab.json("apply", "INVENTORY", "--yes", "--timeout", "5", code=1)["hosts"]
            assert (done["fra1"]["result"], done["oslo"]["result"]) == ("unreachable", "changed")
            assert calls(lab, "oslo", seen) == router
        assert lab.output("oslo", "sh", "-c", PICTURE) == before
