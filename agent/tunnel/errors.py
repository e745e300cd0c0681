"""Why a tunnel cannot start. Raised by tun, udp and control; only main turns it into output."""

from __future__ import annotations


class StartError(Exception):
    """One line for the operator: what is wrong and what to do next."""
