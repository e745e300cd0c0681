"""What it takes to get a host out of its fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.bundle import Bundle
from agent.report import Observed, OtherFleet
from fleet.delivery.remove import Traces
from fleet.rollout.leave import Leaving, decide_leaving, empty_bundle
from fleet.state.memory import HostRecord, Memory
from tests.fleet.delivery.made import facts
from tests.fleet.rollout.made import FLEET, RELEASE, bundle, report

MEANT = replace(bundle(), forwarding=True)
EMPTY = Bundle(1, FLEET, "acme", "fra1", 9, ())
PLACES = ("/opt/fleet-agent", "/var/lib/fleet-agent")
IN_IT = Traces(PLACES, (FLEET,), ("wg0",), ("forwarding",))
BETA = OtherFleet("beta", 1)
NOBODY = replace(report(EMPTY), fleet=None, host=None, revision=None, digest=None, observed=Observed())


def decide(said: object, traces: Traces, *, meant: Bundle | None = MEANT, done: bool = False) -> Leaving:
    values = {} if said is None else {"release": RELEASE, "report": said}
    found = decide_leaving("fra1", EMPTY, meant, done, facts(**values, fleets=traces.fleets), traces)
    assert isinstance(found, Leaving)
    return found


def items(leaving: Leaving) -> list[str]:
    assert {change.action for change in leaving.changes} <= {"remove"}
    return [f"{change.layer} {change.item}" for change in leaving.changes]


def test_a_member_leaves_and_everything_goes() -> None:
    leaving = decide(report(MEANT), IN_IT)
    assert leaving.empty == EMPTY
    assert (leaving.install, leaving.meant) == (False, None)
    assert items(leaving) == [
        "address wg0 10.77.0.1/32",
        "forwarding ip forwarding",
        "interface wg0",
        "file /opt/fleet-agent",
        "file /var/lib/fleet-agent",
    ]


def test_the_agent_stays_where_another_fleet_is() -> None:
    leaving = decide(report(MEANT, others=(BETA,)), IN_IT)
    assert leaving.empty == EMPTY
    assert not [item for item in items(leaving) if item.startswith("file")]
    assert leaving.notes == ("beta stays on it, and the agent with it",)


@pytest.mark.parametrize("done", [True, False])
def test_a_host_that_has_nothing_is_left_alone(done: bool) -> None:
    assert decide(None, Traces(), done=done).nothing
    assert decide(replace(NOBODY, others=(BETA,)), Traces(PLACES, ("b" * 32,)), done=done).nothing


def test_what_no_fleet_needs_any_more_goes() -> None:
    leaving = decide(NOBODY, Traces(PLACES), done=True)
    assert leaving.empty is None
    assert items(leaving) == ["file /opt/fleet-agent", "file /var/lib/fleet-agent"]


def test_a_dead_agent_has_to_be_brought_back_to_undo_what_it_did() -> None:
    leaving = decide(None, IN_IT)
    assert (leaving.empty, leaving.install, leaving.meant) == (EMPTY, True, MEANT)
    assert "interface wg0" in items(leaving)


def test_an_agent_that_lost_its_memory_is_told() -> None:
    leaving = decide(NOBODY, Traces(PLACES, (), ("wg0",)))
    assert (leaving.empty, leaving.install, leaving.meant) == (EMPTY, False, MEANT)
    forwards = decide(NOBODY, Traces(PLACES, (), (), ("forwarding",)))
    assert forwards.meant == MEANT


def test_of_what_nobody_knows_anything_nothing_is_touched() -> None:
    leaving = decide(NOBODY, Traces(PLACES, (), ("wg0",)), meant=None)
    assert leaving.empty is None
    assert items(leaving) == ["file /opt/fleet-agent", "file /var/lib/fleet-agent"]


def test_an_interface_of_that_name_on_a_host_that_is_done_is_another_one() -> None:
    assert decide(None, Traces((), (), ("wg0",)), done=True).nothing
    assert decide(None, Traces((), (), ("wg0",)), done=False).meant == MEANT


def test_a_dead_agent_that_others_need_is_not_replaced() -> None:
    traces = replace(IN_IT, fleets=(FLEET, "b" * 32))
    found = decide_leaving("fra1", EMPTY, MEANT, False, facts(release=RELEASE, fleets=traces.fleets), traces)
    assert isinstance(found, str)
    assert "b" * 32 in found


def record(held: Bundle | None) -> Memory:
    host = HostRecord("fra1", "1" * 16, (), 1, "key", b"", held)
    return Memory(FLEET, "acme", 7, b"", {"fra1": host})


def test_hosts_leave_by_the_next_revision_and_by_the_same_again() -> None:
    first = empty_bundle(record(MEANT), "fra1", None)
    assert (first.revision, first.interfaces, first.host) == (8, (), "fra1")
    assert empty_bundle(record(first), "fra1", "fra1") is first
    renamed = empty_bundle(record(first), "fra1", "paris")
    assert (renamed.revision, renamed.host) == (8, "paris")
    assert empty_bundle(record(None), "oslo", None).revision == 8
