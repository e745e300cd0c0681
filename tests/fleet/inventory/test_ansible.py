"""Ansible reads the same files and finds the same groups, variables and hosts of patterns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fleet.inventory.patterns import match
from fleet.inventory.variables import resolve
from tests.fleet.inventory.oracle import BIN, ENVIRONMENT, assert_same, ours

pytestmark = pytest.mark.slow

RELAXED = settings(
    deadline=None,
    max_examples=int(os.environ.get("FLEET_ORACLE_EXAMPLES", "12")),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take an Ansible run a step
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


VALUES = st.one_of(
    st.integers(0, 9), st.booleans(), st.none(), st.text("ab: #'{", max_size=4), st.just([1, "x"])
)
VARIABLES = st.dictionaries(st.sampled_from(["v1", "v2", "v3", "v4", "v5"]), VALUES, max_size=3)
HOST_KEYS = st.sampled_from(
    [
        "h1",
        "h2",
        "h3",
        "h4",
        "h[1:3]",
        "h[2:8:3]",
        "w[08:11].eu",
        "[a:c]x",
        "w09.eu:2222",
        "p[1:2]q[a:b]",
        "fd00::1",
    ]
)
HOSTS = st.dictionaries(HOST_KEYS, VARIABLES | st.none(), max_size=3)
FORMS = ("{}.yml", "{}.yaml", "{}.json", "{}", "{}/one.yml", "{}/two", "{}/sub/three.json")


@st.composite
def documents(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, Any]:
    """An inventory over groups of these names, without loops: a group's children come after it."""
    order = draw(st.permutations(names))

    def group(position: int, depth: int) -> dict[str, Any] | None:
        content: dict[str, Any] = {}
        if draw(st.booleans()):
            content["hosts"] = draw(HOSTS)
        if draw(st.booleans()):
            content["vars"] = draw(VARIABLES)
            if draw(st.integers(0, 3)) == 0:
                content["vars"]["ansible_group_priority"] = draw(st.integers(-2, 12))
        later = range(position + 1, len(order))
        if depth < 4 and later and draw(st.booleans()):
            chosen = draw(st.lists(st.sampled_from(later), max_size=3, unique=True))
            content["children"] = {order[child]: group(child, depth + 1) for child in chosen}
        return content or None

    document: dict[str, Any] = {"all": {"vars": draw(VARIABLES), "hosts": draw(HOSTS), "children": {}}}
    for position, name in enumerate(order):
        place = draw(st.sampled_from([document, document["all"]["children"]]))
        place[name] = group(position, 0)
    if draw(st.booleans()):
        document["ungrouped"] = {"hosts": draw(HOSTS), "vars": draw(VARIABLES)}
    return document


NAMES = ("alpha", "beta", "Gamma", "delta", "zeta", "eta1", "g_2")


@RELAXED
@given(
    document=documents(NAMES),
    beside=st.lists(
        st.tuples(
            st.sampled_from([f"group_vars/{name}" for name in ("all", "ungrouped", *NAMES)])
            | st.sampled_from(
                [f"host_vars/{name}" for name in ("h1", "h2", "w09.eu", "ax", "fd00::1", "none")]
            ),
            st.sampled_from(FORMS),
            VARIABLES,
        ),
        max_size=8,
    ),
)
def test_variables_and_groups(
    tmp_path: Path, document: dict[str, Any], beside: list[tuple[str, str, dict[str, Any]]]
) -> None:
    for folder in ("group_vars", "host_vars"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    file = tmp_path / "inventory.yml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    for name, form, variables in beside:
        place = tmp_path / form.format(name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(variables))
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            continue  # another one is a file of the name that this one needs as a folder, or the reverse
    assert_same(file)


WRITTEN = """\
all:
  vars:
    anchored: &defaults {v1: 1, v2: two}
    date: 2026-01-02
    template: "{{ v1 }}"
    numbers: [0x1f, 010, 1_000, 1:30, .5, 1e3, -7]
    words: [yes, No, on, ~, null, "yes", 'it''s']
    text: |
      two
      lines
  hosts:
    h1: {<<: *defaults, v2: mine, list: [*defaults, *defaults]}
    h2: {<<: [*defaults, {v3: 3}]}
  children:
    single: {hosts: h3}
    nested: {children: single}
"""


def test_what_people_write_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yml"
    file.write_text(WRITTEN.replace("v2: mine, ", ""))
    assert_same(file)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    """Ansible does so too, but with a warning."""
    file = tmp_path / "inventory.yml"
    file.write_text(WRITTEN)
    argv: list[str | Path] = [BIN / "ansible-inventory", "-i", file, "--host", "h1"]
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    source = ours(file)
    (found,) = [found for name, _, found in resolve(source.tree, source.layers) if name == "h1"]
    assert json.loads(done.stdout)["v2"] == found["v2"].read() == "mine"


FLAT = {
    "all": {
        "hosts": {"solo": None, "[a:c]x.eu": None},
        "children": {
            "core": {"hosts": {"fra1": None, "sgp1": None, "nyc1": None, "[a:b]x.eu": None}},
            "branches": {"hosts": {"oslo": None, "lima": None, "fra1": None}},
            "corner": {"hosts": {"lima": None, "rome": None}},
            "nobody": None,
        },
    }
}
TERMS = st.one_of(
    st.sampled_from(
        [
            "all",
            "*",
            "core",
            "branches",
            "corner",
            "nobody",
            "ungrouped",
            "fra1",
            "lima",
            "solo",
            "ax.eu",
            "typo",
        ]
    ),
    st.sampled_from(
        ["co*", "*.eu", "?ima", "[fs]*", "*1", "~fra|sgp", "~.*x[.]eu$", "cor?", "[ab]x.eu", "~cor"]
    ),
    st.sampled_from(
        ["core[0]", "core[-1]", "core[1:2]", "core[1:]", "co*[0:4]", "branches[2]", "*[3]", "*1[0]"]
    ),
)
PATTERNS = st.lists(st.tuples(st.sampled_from(["", "", "!", "&"]), TERMS), min_size=1, max_size=4).flatmap(
    lambda terms: st.sampled_from([",", ":"]).map(lambda by: by.join(sign + term for sign, term in terms))
)


@RELAXED
@given(patterns=st.lists(PATTERNS, min_size=30, max_size=60, unique=True))
def test_patterns(tmp_path: Path, patterns: list[str]) -> None:
    file = tmp_path / "inventory.yml"
    file.write_text(yaml.safe_dump(FLAT, sort_keys=False))
    book = tmp_path / "book.yml"
    book.write_text(json.dumps([{"hosts": pattern, "gather_facts": False} for pattern in patterns]))
    argv: list[str | Path] = [BIN / "ansible-playbook", "-i", file, "--list-hosts", book]
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    tree = ours(file).tree
    groups = {name: tree.members(name) for name in tree.groups}
    theirs = [set(block.split()) for block in re.findall(r"hosts \(\d+\):((?:\n      \S+)*)", done.stdout)]
    assert len(theirs) == len(patterns)
    for pattern, expected in zip(patterns, theirs, strict=True):
        try:
            found = set(match(pattern, groups, list(tree.hosts)))
        except ValueError:
            found = expected if "typo" in pattern else set()
        assert found == expected, pattern
