"""The files of a node: sshd, accounts, names, known hosts. Pure. Called by `machine` and `keys`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.lab.layout import Node, User

RC_LOCAL = "#!/bin/sh\nexit 0\n"
_FIRST_ID = 1500
# no password fits, yet not locked as `!` would be: sshd refuses locked accounts (sshd(8))
_SHADOW = "*:19000:0:99999:7:::"


@dataclass(frozen=True)
class Accounts:
    """The texts of /etc/passwd, shadow and group; `homes` are (folder, uid, gid)."""

    passwd: str
    shadow: str
    group: str
    homes: tuple[tuple[str, int, int], ...]


def sshd_config(port: int) -> str:
    """Keys only, and quick: no PAM, no name service, room for many connections at once."""
    return f"""Port {port}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
MaxStartups 100:30:200
MaxSessions 100
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""


def hosts(node: Node) -> str:
    """/etc/hosts: a node knows itself and the names of endpoints, for there is no name service."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"127.0.1.1 {node.hostname}", *node.names]
    return "".join(f"{line}\n" for line in lines)


def sudoers(users: Iterable[User]) -> str:
    """Those who may become root, without a password."""
    return "".join(f"{user.name} ALL=(ALL:ALL) NOPASSWD: ALL\n" for user in users if user.sudo)


def accounts(passwd: str, shadow: str, group: str, users: Sequence[User]) -> Accounts:
    """This machine's accounts and `users`, each of them with a shell, a home and no password."""
    people = [line.split(":") for line in passwd.splitlines() if line.count(":") == 6]
    secrets = [line for line in shadow.splitlines() if line]
    groups = [line for line in group.splitlines() if line]
    taken = {int(line[2]) for line in people} | {int(line.split(":")[2]) for line in groups}
    homes = []
    for user in users:
        home = "/root" if user.name == "root" else f"/home/{user.name}"
        known = next((line for line in people if line[0] == user.name), None)
        if known is None:
            number = next(n for n in range(_FIRST_ID, 60000) if n not in taken)
            taken.add(number)
            known = [user.name, "x", str(number), str(number), "", home, "/bin/bash"]
            people.append(known)
            groups.append(f"{user.name}:x:{number}:")
        known[1], known[5], known[6] = "x", home, "/bin/bash"
        homes.append((home, int(known[2]), int(known[3])))
        secrets = [line for line in secrets if not line.startswith(f"{user.name}:")]
        secrets.append(f"{user.name}:{_SHADOW}")
    return Accounts(_text(":".join(line) for line in people), _text(secrets), _text(groups), tuple(homes))


def known_hosts_line(address: str, port: int, public_key: str) -> str:
    """A line for OpenSSH's known_hosts; `public_key` is `TYPE BASE64`."""
    name = address if port == 22 else f"[{address}]:{port}"
    return f"{name} {public_key}\n"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
