"""A fleet in memory behind `fleet apply` and `fleet status`: hosts that keep what they are given.

Stands where SSH would be; everything above it, state and sealing key included, is real. Called by the
tests of the commands.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent import bundle as bundles
from agent import report as reports
from agent.bundle import Bundle
from agent.report import Link, Observed, OtherFleet, Report
from agent.secret import Secrets
from fleet.cli.main import main
from fleet.delivery.facts import Facts
from fleet.delivery.manifest import Manifest
from fleet.inventory.model import Host
from fleet.rollout import apply, destroy, job, reach
from fleet.transport.base import Completed, TransportError
from tests.fleet.delivery.made import facts
from tests.fleet.rollout.made import observed

NAMES = ("fra1", "sgp1", "oslo")


@dataclass
class SimulatedHost:
    """One host. `dead`: no way to it. `breaks`: what its agent answers instead of applying.

    `others` are fleets that it is in besides, `manifest` is that of an agent which another of them installed.
    `silent`: its agent does not answer. `interface` is the public key of a wg0 that its agent does not know.
    """

    name: str
    release: str | None = None
    bundle: Bundle | None = None
    secrets: Secrets = field(default_factory=Secrets)
    dead: bool = False
    breaks: str | None = None
    silent: bool = False
    interface: str | None = None
    others: tuple[OtherFleet, ...] = ()
    manifest: Manifest | None = None
    before_apply: Callable[[], None] = lambda: None
    commands: list[str] = field(default_factory=list)
    timeout: float = 5.0

    @property
    def host(self) -> str:
        return self.name

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        """Plays the installer and the agent's client."""
        words = command.split()
        if words[-1] in ("look", "remove"):
            self.commands.append(words[-1])
            return self._remover(words[-1], json.loads(stdin))
        if "-c" in words:
            self.commands.append("install")
            self.release, self.manifest, self.silent = words[-2], None, False
            return Completed(0, b'{"ok": true, "notes": []}', "")
        self.commands.append(words[1])
        if words[1] == "show":
            return Completed(0, f"wg0\t{self.interface}\n".encode(), "")
        if words[1] == "secrets":
            return self._answer({"secrets": self.secrets.to_json()})
        if words[1] == "apply":
            self.before_apply()
            if self.breaks is not None:
                return Completed(1, json.dumps({"ok": False, "error": self.breaks}).encode(), "")
            document = json.loads(stdin)
            wanted = bundles.from_json(document["bundle"])
            if self.bundle is not None and wanted.fleet != self.bundle.fleet:
                assert "--replace-fleet" in words
            if self.bundle is not None and wanted.host != self.bundle.host and "--replace-fleet" not in words:
                return Completed(1, json.dumps({"ok": False, "error": "I am another host"}).encode(), "")
            self.bundle, self.secrets = wanted, Secrets.from_json(document["secrets"])
            assert self.bundle.secret_refs() <= set(self.secrets)
        return self._answer({"report": reports.to_json(self.report()), "changes": []})

    def _remover(self, mode: str, request: dict[str, Any]) -> Completed:
        """What onhost/remove.py would say and do."""
        if mode == "look":
            places = ["/opt/fleet-agent", "/var/lib/fleet-agent"] if self.release else []
            fleets = [self.bundle.fleet] if self.bundle and self.bundle.interfaces else []
            names = ["wg0"] if fleets or self.interface else []
            return self._answer({"places": places, "fleets": fleets, "interfaces": names, "undone": []})
        self.before_apply()
        if self.breaks is not None:
            return Completed(1, json.dumps({"ok": False, "error": self.breaks}).encode(), "")
        if request["bundle"] is not None and self.bundle is not None:
            empty = bundles.from_json(request["bundle"])
            assert (empty.fleet, empty.host, empty.interfaces) == (self.bundle.fleet, self.bundle.host, ())
            assert empty.revision > self.bundle.revision
            self.bundle, self.interface = None, None
        if not self.others:
            self.release = None
        return self._answer({"kept": bool(self.others)})

    def close(self) -> None:
        """Nothing to end."""

    def report(self) -> Report:
        """Of a host that is what its bundle says."""
        held = self.bundle
        assert self.release is not None
        return Report(
            version=reports.VERSION,
            release=self.release,
            host=held.host if held else None,
            fleet=held.fleet if held else None,
            fleet_name=held.fleet_name if held else None,
            revision=held.revision if held else None,
            digest=held.digest() if held else None,
            secrets=tuple(sorted(self.secrets)),
            observed=observed(held) if held else Observed(),
            pending=(),
            links=tuple(
                Link(interface.name, peer.name, "up", 3, "192.0.2.9:51820", 1, 2)
                for interface in (held.interfaces if held else ())
                for peer in interface.peers
            ),
            problems=(),
            restarts={},
            time=1.7e9,
            others=self.others,
        )

    def facts(self) -> Facts:
        """What facts.sh would say."""
        if self.release is None:
            return facts()
        if self.silent:
            fleets = (self.bundle.fleet,) if self.bundle else ()
            return facts(release=self.release, agent_error="its agent does not answer", fleets=fleets)
        return facts(release=self.release, report=self.report(), manifest=self.manifest)

    @staticmethod
    def _answer(values: dict[str, Any]) -> Completed:
        return Completed(0, json.dumps({"ok": True, **values}).encode(), "")


@dataclass
class Fleet:
    """The hosts, their inventory's file and the commands."""

    file: Path
    hosts: dict[str, SimulatedHost]
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def write(self, names: tuple[str, ...] = NAMES, port: int = 51820) -> None:
        """The inventory: a mesh of `names`."""
        settings = {"name": "acme", "pools": ["10.77.0.0/16"], "listen_port": port}
        settings["topology"] = [{"mesh": "all"}]
        entries = {name: {"ansible_host": f"192.0.2.{number}"} for number, name in enumerate(names, 1)}
        document = {"all": {"vars": {"ansible_user": "root", "fleet": settings}, "hosts": entries}}
        self.file.write_text(json.dumps(document))

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Exit code and both outputs of `fleet COMMAND INVENTORY ...`."""
        command, *rest = argv
        self.patch.setattr(sys, "argv", ["fleet", command, str(self.file), *rest])
        with pytest.raises(SystemExit) as caught:
            main()
        said = self.capture.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    def json(self, *argv: str, code: int = 0) -> Any:
        """What a command says with --json, and that it ends with `code`."""
        found, out, err = self.run(*argv, "--json")
        assert found == code, (found, out, err)
        return json.loads(out)

    def results(self, *argv: str, code: int = 0) -> dict[str, str]:
        """The result of every host of an apply."""
        hosts = self.json("apply", "--yes", *argv, code=code)["hosts"]
        return {name: host["result"] for name, host in hosts.items()}

    def revisions(self) -> dict[str, int | None]:
        """What the hosts hold."""
        return {name: host.bundle.revision if host.bundle else None for name, host in self.hosts.items()}

    def forget_commands(self) -> None:
        """Begins to count anew."""
        for host in self.hosts.values():
            host.commands.clear()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fleet:
    """Three new hosts in a mesh; the user's home is a folder of the test's."""
    made = Fleet(
        tmp_path / "inventory.yml", {name: SimulatedHost(name) for name in NAMES}, capsys, monkeypatch
    )
    made.write()

    def open_transport(host: Host, _access: object, _timeout: float) -> SimulatedHost:
        if made.hosts[host.name].dead:
            raise TransportError(host.name, "unreachable", "it does not answer: is it up?")
        return made.hosts[host.name]

    def gather(transport: SimulatedHost, fleets: Sequence[str], probe: bool) -> Facts:
        assert fleets[-1] == "acme"
        return transport.facts()

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(reach, "open_transport", open_transport)
    monkeypatch.setattr(reach, "gather", gather)
    monkeypatch.setattr(job, "fetch", lambda wheels, *_: {wheel: Path(wheel.file) for wheel in wheels})
    monkeypatch.setattr(apply, "archive", lambda *_: b"archive")
    monkeypatch.setattr(destroy, "archive", lambda *_: b"archive")
    return made
