"""Many connections at once, without a network."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.transport import ssh
from fleet.transport.base import TransportError
from fleet.transport.settings import Settings
from fleet.transport.sudo import Escalation


def test_connections_do_not_share_what_they_write_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """fabric's Connection empties its configuration for a moment when it is made."""
    given: list[Any] = []

    def refuse(*_: Any, **words: Any) -> None:
        given.append(words["config"])
        raise OSError

    monkeypatch.setattr(ssh, "dial", lambda *_: None)
    monkeypatch.setattr(ssh, "_new_connection", refuse)
    settings = Settings("192.0.2.1", 22, "root", None, (), False, "192.0.2.1", (), False)
    for _ in range(2):
        with pytest.raises(TransportError):
            ssh.connect("fra1", settings, [], Escalation(False, "root"), 1.0)
    first, second = given
    assert first is not second
    first.user = "somebody"
    assert second.user != "somebody"
