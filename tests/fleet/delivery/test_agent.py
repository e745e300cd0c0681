"""Questions to an agent, and what its answers are worth."""

from __future__ import annotations

import json

import pytest

from agent import report as reports
from agent.bundle import Bundle
from agent.report import Change
from agent.secret import Secret, SecretRef, Secrets
from fleet.delivery import agent
from fleet.delivery.install import install
from fleet.delivery.manifest import own
from fleet.delivery.release import Release
from fleet.transport.base import Completed, TransportError
from tests.fleet.delivery.made import DIGEST, FakeTransport
from tests.fleet.delivery.test_facts import report

BUNDLE = Bundle(1, "0" * 32, "acme", "fra1", 3, ())
SECRETS = Secrets([(SecretRef("key/1", 1), Secret(b"k" * 32))])
RELEASE = Release(DIGEST, "/usr/bin/python3", (), (), 1, own(userspace=False))


def answer(**values: object) -> Completed:
    return Completed(0 if values.get("ok") else 1, json.dumps(values).encode(), "")


def test_a_bundle_goes_with_its_secrets_on_standard_input_alone() -> None:
    change = Change("peer", "wg0 peer oslo", "add", "x", None)
    done = answer(ok=True, report=reports.to_json(report()), changes=[change.__dict__])
    transport = FakeTransport(done)
    applied = agent.apply(transport, BUNDLE, SECRETS, replace_fleet=False)
    assert applied.changes == (change,)
    assert applied.report == report()
    assert transport.commands == ["/opt/fleet-agent/current/bin/fleet-agent apply"]
    sent = json.loads(transport.inputs[0])
    assert sent["bundle"]["revision"] == 3
    assert Secrets.from_json(sent["secrets"]) == SECRETS


def test_replacing_a_fleet_is_said() -> None:
    transport = FakeTransport(answer(ok=True, report=reports.to_json(report())))
    agent.apply(transport, BUNDLE, SECRETS, replace_fleet=True)
    assert transport.commands[0].endswith("apply --replace-fleet")


def test_reports_and_secrets() -> None:
    transport = FakeTransport(
        answer(ok=True, report=reports.to_json(report())), answer(ok=True, secrets=SECRETS.to_json())
    )
    assert agent.report(transport, BUNDLE.fleet, probe=True) == report()
    assert agent.secrets(transport, BUNDLE.fleet) == SECRETS
    fleet = ["--fleet", BUNDLE.fleet]
    asked = [command.split()[1:] for command in transport.commands]
    assert asked == [["report", "--probe", *fleet], ["secrets", *fleet]]


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (answer(ok=False, error="it belongs to another fleet"), "fra1: it belongs to another fleet"),
        (answer(ok=False), "does not say why"),
        (Completed(1, b"", "no agent answers\n"), "does not answer .exit code 1.: no agent answers"),
        (Completed(0, b"[1]", ""), "it says nothing"),
        (answer(ok=True, report={"version": 9}), "cannot be read"),
        (answer(ok=True, report=None, changes=[{"layer": 1}]), "cannot be read"),
    ],
)
def test_an_answer_that_is_no_success(done: Completed, reason: str) -> None:
    with pytest.raises(TransportError, match=reason) as caught:
        agent.apply(FakeTransport(done), BUNDLE, SECRETS, replace_fleet=False)
    assert caught.value.kind == "failed"
    assert "\n" not in str(caught.value)


def test_secrets_that_are_none_are_not_quoted() -> None:
    with pytest.raises(TransportError) as caught:
        agent.secrets(
            FakeTransport(answer(ok=True, secrets=[{"id": "a", "generation": 1, "value": "hidden"}])),
            BUNDLE.fleet,
        )
    assert "hidden" not in str(caught.value)


def test_an_installation_tells_its_notes() -> None:
    transport = FakeTransport(answer(ok=True, notes=["nothing starts it at boot"]))
    assert install(transport, RELEASE, b"archive", "none") == ["nothing starts it at boot"]
    assert transport.inputs == [b"archive"]
    assert transport.commands[0].startswith("/usr/bin/python3 -I -c ")
    assert transport.commands[0].endswith(f" /opt/fleet-agent {DIGEST} none")


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (answer(ok=False, error="no space left"), "fra1: no space left"),
        (Completed(137, b"", "Killed\n"), "exit code 137.: Killed"),
        (Completed(0, b"{}", ""), "it says nothing"),
    ],
)
def test_an_installation_that_fails(done: Completed, reason: str) -> None:
    with pytest.raises(TransportError, match=reason):
        install(FakeTransport(done), RELEASE, b"", "systemd")
