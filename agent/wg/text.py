"""How single values are written, alike wherever `wg` shows them. Called by config, fields and pretty.

Addresses go through the C library, as they do in `wg`: it has a shortest form for each.
"""

from __future__ import annotations

import base64
import socket
from typing import Optional

NONE = "(none)"
OFF = "off"


def key(data: Optional[bytes]) -> str:
    return NONE if data is None else base64.b64encode(data).decode()


def fwmark(mark: int) -> str:
    return hex(mark) if mark else OFF


def keepalive(seconds: int) -> str:
    return str(seconds) if seconds else OFF


def prefix(text: str) -> str:
    """`IP/LENGTH`; a device may have spelt an IPv6 address in another way."""
    ip, _, length = text.partition("/")
    if ":" not in ip:
        return text
    return f"{socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, ip))}/{length}"


def endpoint(text: Optional[str]) -> str:
    """`IP:PORT` or `[IP]:PORT`; the link of a link-local address by its name, where it is known here."""
    if text is None:
        return NONE
    host, _, port = text.rpartition(":")
    if not host.startswith("["):
        return text
    try:
        address = socket.getaddrinfo(
            host[1:-1],
            port,
            socket.AF_INET6,
            socket.SOCK_DGRAM,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )[0][4]
        name, number = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    except OSError:
        return text
    return f"[{name}]:{number}"
