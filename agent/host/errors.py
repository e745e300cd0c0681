"""What goes wrong on a host, as a sentence for people. Raised by everything here, shown in reports."""

from __future__ import annotations


class HostError(Exception):
    """One sentence that names the interface and, where there is one, the peer, and says what to do."""


class SilentError(HostError):
    """The tunnel process of an interface does not answer: nothing else needs to be tried on it now."""

    def __init__(self, interface: str) -> None:
        super().__init__(
            f"{interface}: its tunnel process does not answer; if it stays so for about a minute, the agent "
            "ends it and starts another"
        )
