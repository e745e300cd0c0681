"""`fleet status` from the command line to simulated hosts and back."""

from __future__ import annotations

from agent.report import OtherFleet
from tests.fleet.cli.simulated import Fleet


def test_status_of_a_fleet(fleet: Fleet) -> None:
    fleet.results()
    document = fleet.json("status")
    assert list(document["hosts"]) == ["fra1", "sgp1", "oslo"]
    for name, host in document["hosts"].items():
        assert (host["reachable"], host["backend"], host["revision"]) == (True, "userspace", 1)
        assert set(host["peers"]) == {"fra1", "sgp1", "oslo"} - {name}
    code, out, err = fleet.run("status")
    assert code == 0
    assert "fra1 -> oslo" in out
    assert "USERSPACE" in err


def test_the_limit_restricts_who_is_asked(fleet: Fleet) -> None:
    fleet.results()
    assert list(fleet.json("status", "--limit", "*1")["hosts"]) == ["fra1", "sgp1"]


def test_hosts_without_an_answer_are_an_error(fleet: Fleet) -> None:
    assert fleet.json("status", code=1)["hosts"]["fra1"]["error"].endswith("run fleet apply")
    fleet.results()
    fleet.hosts["sgp1"].dead = True
    hosts = fleet.json("status", code=1)["hosts"]
    assert [host["reachable"] for host in hosts.values()] == [True, False, True]


def test_other_fleets_of_a_host_are_named(fleet: Fleet) -> None:
    fleet.results()
    fleet.hosts["sgp1"].others = (OtherFleet("beta", 1), OtherFleet("gamma", None))
    hosts = fleet.json("status")["hosts"]
    assert [host["other_fleets"] for host in hosts.values()] == [[], ["beta", "gamma"], []]
    assert "also here: beta, gamma" in " ".join(fleet.run("status")[1].split())


def test_status_writes_nothing(fleet: Fleet) -> None:
    fleet.run("status")
    assert [file.name for file in fleet.file.parent.iterdir() if file.name != "home"] == ["inventory.yml"]
    assert all(host.commands == [] for host in fleet.hosts.values())
