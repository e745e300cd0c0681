"""Two fleets on the same hosts, from two inventories of two operators: neither notices the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.mesh import Mesh, mesh
from tests.lab.namespaces import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

AGENT = "/opt/fleet-agent/current/bin/fleet-agent"
FIRST = """\
all:
  vars:
    ansible_user: root
    fleet: {name: lab, pools: [10.77.0.0/16], topology: [{mesh: all}]}
  hosts:
    fra1: {ansible_host: 203.0.113.10}
    sgp1: {ansible_host: 203.0.113.20}
    nyc1: {ansible_host: 198.51.100.30}
"""
SECOND = """\
all:
  vars:
    ansible_user: root
    fleet: {name: beta, pools: [10.88.0.0/16], interface: wg1, listen_port: 51999, topology: [{mesh: all}]}
  hosts:
    paris: {ansible_host: 198.18.1.10}
    tokyo: {ansible_host: 198.18.1.20}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("first")
    source = folder / "source.yml"
    source.write_text(FIRST)
    (folder / "own").mkdir()
    with mesh(source, folder / "own") as running:
        assert running.json("apply", "INVENTORY", "--yes")["ok"] is True
        yield running


@pytest.fixture(scope="module")
def second(first: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """An operator with a home and SSH access of his own; to him the lab's hosts have other names."""
    folder = tmp_path_factory.mktemp("second")
    (lab,) = (first.inventory.parent / ".fleet" / "lab").iterdir()
    (folder / ".ssh").mkdir(mode=0o700)
    (folder / ".ssh" / "config").write_text(f"UserKnownHostsFile {lab}/known_hosts\nIdentityFile {lab}/key\n")
    inventory = folder / "beta.yml"
    inventory.write_text(SECOND)
    operator = Mesh(inventory, folder)
    done = operator.fleet("apply", "INVENTORY", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is in t" in " ".join(done.stdout.split()), "its operator is told of the other fleet"
    return operator


def handshakes(first: Mesh, interface: str = "wg0") -> dict[str, str]:
    return {
        host: first.output(host, "wg", "show", interface, "latest-handshakes") for host in ("fra1", "sgp1")
    }


def links_work(first: Mesh) -> bool:
    return all(first.pings("fra1", address) for address in ("10.77.0.2", "10.77.0.3", "10.88.0.2"))


def folders(first: Mesh, host: str) -> list[str]:
    return first.output(host, "ls", "/var/lib/fleet-agent/fleets").split()


def test_both_are_as_they_should_be(first: Mesh, second: Mesh) -> None:
    assert links_work(first)
    for operator, others in ((first, ["beta"]), (second, None)):
        again = operator.json("apply", "INVENTORY", "--yes")
        assert {host["result"] for host in again["hosts"].values()} == {"unchanged"}
        status = operator.json("status", "INVENTORY")["hosts"]
        assert all(peer["state"] == "up" for host in status.values() for peer in host["peers"].values())
        if others is not None:
            assert {name: host["other_fleets"] for name, host in status.items()} == {
                "fra1": others,
                "sgp1": others,
                "nyc1": [],
            }
    assert "also here: beta" in " ".join(first.must("status", "INVENTORY").split())
    assert len(folders(first, "fra1")) == 2
    assert len(folders(first, "nyc1")) == 1


def test_a_change_of_one_leaves_the_other_alone(first: Mesh, second: Mesh) -> None:
    assert links_work(first)
    before = handshakes(first)
    second.inventory.write_text(SECOND.replace("51999", "51998"))
    assert second.json("apply", "INVENTORY", "--yes")["ok"] is True
    assert first.output("fra1", "wg", "show", "wg1", "listen-port").strip() == "51998"
    assert handshakes(first) == before
    assert links_work(first)
    unchanged = first.json("apply", "INVENTORY", "--yes")["hosts"]
    assert {host["result"] for host in unchanged.values()} == {"unchanged"}


def test_a_collision_is_one_sentence_and_changes_nothing(first: Mesh, second: Mesh) -> None:
    text = second.inventory.read_text()
    before = first.output("fra1", "ip", "address")
    try:
        second.inventory.write_text(text.replace("51998", "51820"))
        hosts = second.json("apply", "INVENTORY", "--yes", code=1)["hosts"]
    finally:
        second.inventory.write_text(text)
    for host in hosts.values():
        assert host["result"] == "failed"
        assert "both listen on UDP port 51820" in host["error"]
        assert "\n" not in host["error"]
    assert first.output("fra1", "ip", "address") == before
    assert links_work(first)
    assert second.json("apply", "INVENTORY", "--yes")["ok"] is True


def test_a_reboot_brings_both_back(first: Mesh, second: Mesh) -> None:
    first.must("lab", "reboot", "INVENTORY", "fra1")
    wait_until(lambda: links_work(first), "both fleets")


def test_who_leaves_takes_nothing_of_the_other(first: Mesh, second: Mesh) -> None:
    assert links_work(first)
    before = handshakes(first)
    done = second.fleet("destroy", "INVENTORY", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stays on it, and the agent with it" in " ".join(done.stdout.split())
    for host in ("fra1", "sgp1"):
        assert first.inside(host, "ip", "link", "show", "wg1").returncode != 0
        assert len(folders(first, host)) == 1
    assert handshakes(first) == before
    assert first.json("status", "INVENTORY")["hosts"]["fra1"]["other_fleets"] == []
    again = second.json("destroy", "INVENTORY", "--yes")["hosts"]
    assert {host["result"] for host in again.values()} == {"unchanged"}
    assert first.json("destroy", "INVENTORY", "--yes")["ok"] is True
    for host in ("fra1", "sgp1", "nyc1"):
        assert first.inside(host, "ls", "/opt/fleet-agent").returncode != 0
