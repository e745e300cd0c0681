"""Names that cannot be looked up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fleet.transport.deadline import Deadline
from fleet.transport.dial import dial
from fleet.transport.settings import Settings


@pytest.mark.parametrize("name", ["a" * 70 + ".example.net", "two..dots.example.net"])
def test_what_is_no_host_name_does_not_resolve(name: str) -> None:
    settings = Settings(name, 22, "root", None, (), False, name, (Path("known_hosts"),), False)
    with Deadline(5, lambda: None) as deadline, pytest.raises(socket.gaierror, match="no host name"):
        dial(settings, None, [], deadline)
