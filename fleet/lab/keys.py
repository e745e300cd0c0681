"""The keys of a lab: one that logs in everywhere, one a host; made once and kept in the lab's folder.

Called by `build`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fleet.lab.files import RC_LOCAL, known_hosts_line
from fleet.lab.layout import Door
from fleet.lab.record import Place, write_private


def prepare(place: Place, doors: Collection[Door]) -> None:
    """The keys, known_hosts and the folders of every host; what is there already stays."""
    place.stage.mkdir(exist_ok=True)
    _forget_strangers(place, {door.host for door in doors})
    login = _key(place.key_file)
    _replace(place.folder / "key.pub", f"{login}\n")
    lines = []
    for door in doors:
        host = place.host(door.host)
        for name in ("opt", "fleet-agent", "root", "home", "log"):
            (host / name).mkdir(parents=True, exist_ok=True)
        for name in ("fleet-agent", "root"):
            (host / name).chmod(0o700)
        if not (host / "rc.local").exists():
            write_private(host / "rc.local", RC_LOCAL, 0o755)
        lines.append(known_hosts_line(door.address, door.port, _key(host / "ssh_host_ed25519_key")))
    _replace(place.known_hosts, "".join(lines))


def _forget_strangers(place: Place, hosts: Collection[str]) -> None:
    """A host that left the inventory is thrown away, with its disk."""
    if place.host("").is_dir():
        for folder in place.host("").iterdir():
            if folder.name not in hosts:
                shutil.rmtree(folder)


def _key(file: Path) -> str:
    """The public key of a private key file, as OpenSSH writes it; a missing or cut off file is made anew."""
    try:
        private = load_ssh_private_key(file.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        _replace(file, text)
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    write_private(new, text)
    new.replace(file)
