from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from fleet.inventory.model import Connection
from fleet.transport.settings import Settings, SettingsError, for_lab, read_config, resolve, resolve_jump

HOME = Path("/home/op")


def settings(config: str = "", **values: object) -> Settings:
    arguments: dict[str, object] = {"kind": "ssh", "host": "fra1", **values}
    return resolve(Connection(**arguments), config, HOME)  # type: ignore[arg-type]


def test_defaults_are_those_of_openssh() -> None:
    found = settings()
    assert (found.hostname, found.port, found.user) == ("fra1", 22, getpass.getuser())
    assert found.keys == (HOME / ".ssh/id_ed25519", HOME / ".ssh/id_ecdsa", HOME / ".ssh/id_rsa")
    assert found.use_agent
    assert not found.accept_new
    assert found.known_hosts[0] == HOME / ".ssh/known_hosts"
    assert Path("/etc/ssh/ssh_known_hosts") in found.known_hosts


def test_the_users_configuration_counts() -> None:
    found = settings(
        "Host fra*\n User ops\n Port 2222\n HostName 203.0.113.9\n IdentityFile ~/.ssh/fleet\n"
        " IdentitiesOnly yes\n UserKnownHostsFile ~/.ssh/a /b\n StrictHostKeyChecking accept-new\n"
        " HostKeyAlias frankfurt\n"
    )
    assert (found.hostname, found.port, found.user) == ("203.0.113.9", 2222, "ops")
    assert str(found.keys[0]).endswith("/.ssh/fleet")
    assert not found.use_agent
    assert found.known_hosts[:2] == (HOME / ".ssh/a", Path("/b"))
    assert found.accept_new
    assert found.host_key_name == "frankfurt"


def test_the_inventorys_variables_come_first() -> None:
    config = "Host *\n User other\n Port 1\n IdentityFile /other\n ProxyJump old\n"
    found = settings(
        config, user="ops", port=2200, private_key_file=Path("/keys/k"), options=(("proxyjump", "bastion"),)
    )
    assert (found.user, found.port) == ("ops", 2200)
    assert found.keys == (Path("/keys/k"), Path("/other"))
    assert found.required_key == Path("/keys/k")
    assert found.jumps == ("bastion",)


def test_tokens_see_the_inventorys_values() -> None:
    found = settings("Host *\n ProxyCommand nc -x %r %h %p\n", user="ops", port=2200)
    assert found.proxy_command == "nc -x ops fra1 2200"


def test_whichever_proxy_was_said_first_counts() -> None:
    config = "Host *\n ProxyJump bastion\n"
    assert settings(config, options=(("proxycommand", "nc %h %p"),)).proxy_command == "nc fra1 22"
    assert settings(config, options=(("proxyjump", "none"),)).jumps == ()
    assert settings("Host *\n ProxyJump a,ops@b:2222\n").jumps == ("a", "ops@b:2222")


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("bastion", ("bastion", 22)),
        ("ops@bastion:2222", ("bastion", 2222)),
        ("ssh://ops@bastion:2222", ("bastion", 2222)),
        ("[2001:db8::1]:2222", ("2001:db8::1", 2222)),
        ("2001:db8::1", ("2001:db8::1", 22)),
    ],
)
def test_jump_hosts_are_read_as_ssh_reads_them(hop: str, expected: tuple[str, int]) -> None:
    found = resolve_jump(hop, "", HOME)
    assert (found.hostname, found.port) == expected
    assert found.user == ("ops" if "@" in hop else getpass.getuser())


def test_a_jump_host_has_a_configuration_of_its_own() -> None:
    assert resolve_jump("bastion", "Host bastion\n User jump\n Port 9\n", HOME).user == "jump"


def test_includes_are_followed_and_end_with_their_block(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    (ssh / "config.d").mkdir(parents=True)
    (ssh / "config").write_text("Host fra1\nInclude config.d/*\nPort 2222\n")
    (ssh / "config.d" / "a").write_text("User ops\nHost other\nPort 1\n")
    text = read_config(tmp_path, tmp_path / "none")
    found = resolve(Connection(kind="ssh", host="fra1"), text, tmp_path)
    assert (found.user, found.port) == ("ops", 2222)


def test_the_systems_configuration_comes_last(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host fra1\nPort 2222\n")
    (tmp_path / "system").write_text("Port 1\nUser ops\n")
    found = resolve(Connection(kind="ssh", host="fra1"), read_config(tmp_path, tmp_path / "system"), tmp_path)
    assert (found.user, found.port) == ("ops", 2222)


def test_a_circle_of_includes_ends(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Include config\n")
    with pytest.raises(SettingsError, match="Include goes deeper"):
        read_config(tmp_path, tmp_path / "none")


@pytest.mark.parametrize("config", ["Host *\nnonsense\n", "Host *\nPort many\n", "Host *\nPort 0\n"])
def test_a_configuration_that_cannot_be_followed_is_an_error(config: str) -> None:
    with pytest.raises(SettingsError):
        settings(config)


def test_a_line_break_in_an_option_is_refused() -> None:
    with pytest.raises(SettingsError, match="line break"):
        settings(options=(("user", "a\nProxyCommand rm"),))


def test_a_lab_uses_nothing_of_the_users() -> None:
    found = for_lab(Connection(kind="ssh", host="10.0.0.1", user="root"), Path("/k"), Path("/kh"))
    assert (found.keys, found.known_hosts, found.use_agent) == ((Path("/k"),), (Path("/kh"),), False)
