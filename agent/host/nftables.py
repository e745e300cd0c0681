"""nftables as it is installed here: the program, and how to see without it that nothing changed.

Job: run `nft`, ask the kernel for its count of changes. Refuses to know what is in a table. Called by
firewall.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from typing import Any, Optional

_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE_SECONDS = 20.0

# include/uapi/linux/netlink.h, netfilter/nfnetlink.h, netfilter/nf_tables.h
_NETFILTER = 12
_REQUEST = 1
_GET_GENERATION = 10 << 8 | 16
_GENERATION = 10 << 8 | 15
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_GENERATION_ID = 1


class NftError(Exception):
    """What nft had to say, in a line."""


class MissingError(NftError):
    """There is no nft on this host."""


class Nftables:
    """`program`: where nft is; None looks for it each time, for it may be installed meanwhile."""

    def __init__(self, program: Optional[str] = None) -> None:
        self._program = program

    def load(self, rules: str) -> None:
        """Carries out `rules` in one transaction: all or nothing. Raises NftError."""
        self._run(["-f", "-"], rules)

    def table(self, name: str) -> Optional[list[dict[str, Any]]]:
        """The table of the family inet as nft's JSON has it; None where there is none. Raises NftError."""
        if name not in [entry["table"]["name"] for entry in self._list("tables") if "table" in entry]:
            return None
        return self._list("table", "inet", name)

    def generation(self) -> Optional[int]:
        """The kernel's number of this state of all tables: it changes with every change.

        None where the kernel does not say.
        """
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
                kernel.settimeout(1.0)
                size = _HEADER.size + _FAMILY.size
                kernel.send(_HEADER.pack(size, _GET_GENERATION, _REQUEST, 1, 0) + _FAMILY.pack(0, 0, 0))
                return _generation(kernel.recv(4096))
        except OSError:
            return None

    def _list(self, *what: str) -> list[dict[str, Any]]:
        printed = self._run(["-j", "list", *what])
        try:
            entries: list[dict[str, Any]] = json.loads(printed)["nftables"]
        except (ValueError, KeyError, TypeError):
            raise NftError("nft prints no JSON: it was built without") from None
        return entries

    def _run(self, arguments: Sequence[str], given: str = "") -> str:
        program = self._program or shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_FOLDERS}")
        if program is None:
            raise MissingError("nft is not here")
        try:
            done = subprocess.run(
                [program, *arguments],
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise MissingError("nft is not here") from None
        except OSError as error:
            raise NftError(f"nft does not start: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise NftError(f"nft did not end within {_PATIENCE_SECONDS:g} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise NftError(lines[0] if lines else f"nft ended with {done.returncode}")
        return done.stdout


def _generation(message: bytes) -> Optional[int]:
    """The number in the kernel's answer, None where the answer is another."""
    if len(message) < _HEADER.size or _HEADER.unpack_from(message)[1] != _GENERATION:
        return None
    offset = _HEADER.size + _FAMILY.size
    while offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        value = message[offset + _ATTRIBUTE.size : offset + length]
        if kind == _GENERATION_ID and len(value) == 4:
            return int.from_bytes(value, "big")
        offset += max(length + 3 & ~3, _ATTRIBUTE.size)
    return None
