"""What goes wrong on a host, as a sentence for people. Raised by everything here, shown in reports."""

from __future__ import annotations


class HostError(Exception):
    """One sentence that names the interface and, where there is one, the peer, and says what to do."""
