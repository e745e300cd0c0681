"""Whatever a file says, reading it ends in findings, never in a traceback."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import Finding
from fleet.intent import examine

INVENTORIES = Path(__file__).parents[3] / "inventories"
TEXTS = [file.read_text() for file in sorted(INVENTORIES.rglob("*.yml"))]
PIECES = st.sampled_from(
    [
        "&a ",
        "*a",
        "!x ",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "\t",
        "  ",
        '"',
        "'",
        "0",
        "~",
        "#",
        "{{ x }}",
        "all",
        "fleet",
        "hosts: ",
        "children: ",
        "vars: ",
        "null",
        "1:30",
        "[1:3]",
        "2026-01-01",
        "\x00",
        "ü",
    ]
)
RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(folder: Path, text: str) -> None:
    file = folder / "inventory.yml"
    file.write_text(text)
    reading = examine(file)
    assert all(isinstance(finding, Finding) and finding.message for finding in reading.findings)
    assert reading.findings or reading.inventory is not None


@RELAXED
@given(data=st.data(), text=st.sampled_from(TEXTS))
def test_mutated_inventories(tmp_path: Path, data: st.DataObject, text: str) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(PIECES) + text[end:]
    check(tmp_path, text)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
)
NAMES = st.sampled_from(
    [
        "all",
        "ungrouped",
        "hosts",
        "children",
        "vars",
        "core",
        "fra1",
        "h[1:3]",
        "fleet",
        "name",
        "pools",
        "topology",
        "mesh",
        "hub",
        "spokes",
        "link",
        "interface",
        "listen_port",
        "mtu",
        "fleet_addresses",
        "fleet_subnets",
        "fleet_endpoint",
        "fleet_nat",
        "fleet_mtu",
        "ansible_host",
        "ansible_port",
        "ansible_connection",
        "ansible_group_priority",
        "ansible_become",
        "ansible_ssh_common_args",
    ]
)
VALUES = st.sampled_from(
    ["10.77.0.0/16", "10.77.0.1", "core", "all", "fra1", "local", "test", "a:1", "-o a=b"]
)
TREES = st.recursive(
    SCALARS | NAMES | VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | SCALARS, inner, max_size=5),
    max_leaves=25,
)


@RELAXED
@given(
    variables=st.dictionaries(NAMES, TREES, max_size=4),
    fleet=st.dictionaries(NAMES, TREES, max_size=4),
    core=TREES,
    hosts=TREES,
)
def test_any_structure(
    tmp_path: Path, variables: dict[str, object], fleet: object, core: object, hosts: object
) -> None:
    everyone = {"vars": {"fleet": fleet, **variables}, "hosts": hosts, "children": {"core": core}}
    check(tmp_path, yaml.safe_dump({"all": everyone}, allow_unicode=True))
