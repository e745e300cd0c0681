"""Groups, precedence and the files beside an inventory."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.inventory.read import read_all
from tests.fleet.inventory.write import FLEET, good, messages, one_host, write


def variables(file: Path, host: str) -> dict[str, tuple[object, str]]:
    """Values and owners of a host's variables `v...`."""
    from fleet.inventory.variables import resolve

    reading = read_all(file)
    assert reading.findings == []
    assert reading.source is not None
    for name, _, found in resolve(reading.source.tree, reading.source.layers):
        if name == host:
            return {key: (item.read(), item.owner) for key, item in found.items() if key.startswith("v")}
    raise KeyError(host)


GROUPS = """\
  children:
    outer:
      vars: {v1: outer, v2: outer, v3: outer}
      children:
        inner:
          vars: {v2: inner, v3: inner}
          hosts:
            fra1: {v3: host}
    apart:
      vars: {v1: apart, v2: apart, v4: apart}
      hosts:
        fra1:
    between:
      vars: {v4: between}
      hosts:
        fra1:
"""


def test_deeper_groups_then_the_alphabet(tmp_path: Path) -> None:
    assert variables(write(tmp_path, FLEET + GROUPS), "fra1") == {
        "v1": ("outer", "group outer"),
        "v2": ("inner", "group inner"),
        "v3": ("host", "host fra1"),
        "v4": ("between", "group between"),
    }


def test_priority_counts_among_groups_of_one_depth(tmp_path: Path) -> None:
    text = FLEET + GROUPS.replace("{v1: apart,", "{ansible_group_priority: 10, v1: apart,")
    found = variables(write(tmp_path, text), "fra1")
    assert (found["v1"][0], found["v2"][0], found["v4"][0]) == ("apart", "inner", "apart")


def test_files_beside_the_inventory(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        FLEET + GROUPS,
        {
            "group_vars/all.yml": "v4: all file\nv5: all file\n",
            "group_vars/inner/b.yml": "v2: b\n",
            "group_vars/inner/a.yaml": "v2: a\nv3: a\n",
            "group_vars/inner/deep/c": "v6: c\n",
            "group_vars/inner/.hidden.yml": "v7: no\n",
            "group_vars/inner/old.yml~": "v7: no\n",
            "group_vars/inner/notes.txt": "v7: no\n",
            "group_vars/inner.yml": "v7: no, there is a folder\n",
            "group_vars/stranger.yml": "v7: no\nfleet_typo: 1\n",
            "host_vars/fra1.json": '{"v8": "host file"}',
            "host_vars/fra1": "",
        },
    )
    assert variables(file, "fra1") == {
        "v1": ("outer", "group outer"),
        "v2": ("b", "group inner"),
        "v3": ("host", "host fra1"),
        "v4": ("all file", "all"),
        "v5": ("all file", "all"),
        "v6": ("c", "group inner"),
    }


def test_fleet_may_stand_in_group_vars_all(tmp_path: Path) -> None:
    text = "all:\n  hosts:\n    fra1:\n"
    fleet = "fleet: {name: other, pools: [10.0.0.0/8]}\nfleet_mtu: 1300\n"
    inventory = good(write(tmp_path, text, {"group_vars/all.yml": fleet}))
    assert inventory.name == "other"
    assert inventory.hosts["fra1"].mtu == 1300
    assert inventory.places["name"].file == tmp_path / "group_vars/all.yml"


def test_findings_name_the_file_beside(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        FLEET + "  hosts:\n    fra1:\n",
        {"host_vars/fra1.yml": "fleet_mtu: small\n", "group_vars/all.yml": "- a list\n"},
    )
    assert messages(file) == [
        f"{tmp_path}/group_vars/all.yml:1:1: expected a mapping of variables",
        f"{tmp_path}/host_vars/fra1.yml:1:12: fleet_mtu: expected a number from 1280 to 65535, not 'small'",
    ]


def test_an_encrypted_file_is_left_unread_and_named(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        FLEET + "  hosts:\n    fra1:\n",
        {"group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n31\n"},
    )
    reading = read_all(file)
    assert reading.findings == []
    assert reading.source is not None
    assert reading.source.layers.sealed == [tmp_path / "group_vars/all/vault.yml"]


def test_a_group_in_several_places_is_one(tmp_path: Path) -> None:
    text = FLEET + "  children:\n    a: {hosts: {one: {fleet_mtu: 1300}}}\n    b: {children: {a: }}\n"
    text += "a: {hosts: {two: , one: {fleet_mtu: 1400}}, vars: {fleet_nat: true}}\n"
    inventory = good(write(tmp_path, text))
    assert inventory.groups["a"] == ("one", "two")
    assert inventory.groups["b"] == ("one", "two")
    assert inventory.hosts["one"].mtu == 1400
    assert inventory.hosts["two"].nat
    assert inventory.hosts["two"].groups == ("a", "b")


def test_lone_hosts_are_ungrouped(tmp_path: Path) -> None:
    text = FLEET + "  hosts: {a: , b: }\n  children: {g: {hosts: b}}\nungrouped: {hosts: {b: , c: }}\n"
    inventory = good(write(tmp_path, text))
    assert inventory.groups["ungrouped"] == ("c", "a")
    assert inventory.hosts["b"].groups == ("g",)


def test_a_port_in_a_key_is_where_ssh_listens(tmp_path: Path) -> None:
    assert one_host(tmp_path, "").connection.port is None
    inventory = good(write(tmp_path, FLEET + "  hosts:\n    fra1:2222:\n"))
    assert inventory.hosts["fra1"].connection.port == 2222


@pytest.mark.parametrize("name", ["inventory.ini", "inventory.toml"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("[core]\n")
    assert messages(file)[0].startswith("1:1: an inventory is YAML and its name ends in .yml, .yaml or .json")
    assert messages(tmp_path) == ["1:1: a folder: name the inventory file in it"]


def test_what_fleet_does_not_read_is_none_of_its_business(tmp_path: Path) -> None:
    host = one_host(tmp_path, 'x: "{{ y }}", z: !vault abc, t: 1:30, u: {a: 1, a: 2}, v: &q , w: !odd [1]')
    assert host.endpoint == "fra1:51820"
