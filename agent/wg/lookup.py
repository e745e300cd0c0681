"""Addresses of the endpoints in a configuration file, asked for until the name server answers.

Job: try again, longer and longer after, what may be a passing failure: at boot the network is often not
there yet. Called by wg.main. Source: wg(8), WG_ENDPOINT_RESOLUTION_RETRIES; pauses measured on
wireguard-tools 1.0.20210914, the first is 1 s, each a fifth longer than the last.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from agent.host.device import SocketAddress

VARIABLE = "WG_ENDPOINT_RESOLUTION_RETRIES"
RETRIES = 15

_MOST_DIGITS = 10
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 1.0, 1.2, 20.0
_PERMANENT = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_FAIL", "EAI_NODATA") if hasattr(socket, name)
)


class LookupFailedError(Exception):
    """Why a name has no address, as the end of a sentence."""


def retries(environment: Mapping[str, str]) -> Optional[int]:
    """How often to try again; None is for ever. Raises ValueError."""
    value = environment.get(VARIABLE, "").strip()
    if value == "infinity":
        return None
    if not value:
        return RETRIES
    if not value.isdecimal() or len(value) > _MOST_DIGITS or int(value) >= 2**31:
        raise ValueError(f"{VARIABLE}: expected a number or infinity, not {value!r}")
    return int(value)


def resolve(
    host: str,
    port: int,
    attempts: Optional[int],
    say: Callable[[str], None],
    lookup: Callable[..., Any] = socket.getaddrinfo,
    sleep: Callable[[float], None] = time.sleep,
) -> SocketAddress:
    """The address that the host prefers. `say` is told of every failure that is not the last.

    `attempts` is how often to try again, None for ever. Raises LookupFailedError.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            found = lookup(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
        except socket.gaierror as error:
            reason = error.strerror or str(error)
            if error.errno in _PERMANENT or attempts == 0:
                raise LookupFailedError(reason) from error
        except UnicodeError as error:
            raise LookupFailedError("this is no host name") from error
        else:
            ip, number, *rest = found[0][4]
            return SocketAddress(ip.partition("%")[0], number, rest[1] if rest else 0)
        attempts = None if attempts is None else attempts - 1
        say(f"{reason}; trying again in {pause:.2f} seconds")
        sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * _GROWTH)
