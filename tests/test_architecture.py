"""The lines that ARCHITECTURE.md promises, held by walking the imports of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = {"agent.bundle", "agent.report", "agent.secret", "agent.codec", "agent.converge", "agent.places"}
SANS_IO = {
    "socket",
    "os",
    "time",
    "random",
    "secrets",
    "logging",
    "threading",
    "selectors",
    "asyncio",
    "subprocess",
}
PURE = (
    "agent/wireguard/",
    "agent/converge/",
    "agent/operations.py",
    "agent/bundle.py",
    "agent/report.py",
    "fleet/topology/",
)


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reaches(imported: str, module: str) -> bool:
    return imported == module or imported.startswith(module + ".")


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", _modules("agent"), ids=_name)
def test_the_agent_knows_nothing_of_the_controller(file: Path) -> None:
    assert [name for name in _imports(file) if _reaches(name, "fleet")] == []


@pytest.mark.parametrize("file", _modules("fleet"), ids=_name)
def test_the_controller_shares_only_the_contracts(file: Path) -> None:
    strangers = [
        name
        for name in _imports(file)
        if _reaches(name, "agent") and not any(_reaches(name, module) for module in SHARED)
    ]
    assert strangers == []


@pytest.mark.parametrize(
    "file", [f for f in _modules("agent") + _modules("fleet") if _name(f).startswith(PURE)], ids=_name
)
def test_what_decides_is_given_clock_and_randomness(file: Path) -> None:
    assert [name for name in _imports(file) if name.split(".")[0] in SANS_IO] == []


@pytest.mark.parametrize("file", _modules("fleet"), ids=_name)
def test_one_module_speaks_ssh(file: Path) -> None:
    if _name(file) != "fleet/transport/ssh.py":
        assert [name for name in _imports(file) if _reaches(name, "fabric")] == []


@pytest.mark.parametrize("file", _modules("fleet"), ids=_name)
def test_only_views_print(file: Path) -> None:
    if not _name(file).startswith("fleet/views/"):
        tree = ast.parse(file.read_text())
        calls = [
            n
            for n in ast.walk(tree)
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
        ]
        assert calls == []


@pytest.mark.parametrize("file", _modules("fleet") + _modules("agent"), ids=_name)
def test_every_module_says_its_job(file: Path) -> None:
    text = file.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_third_party_packages_of_the_agent() -> None:
    allowed = {"agent", "pyroute2", "nacl", "cryptography", "__future__"}
    import sys

    strangers = {
        name.split(".")[0]
        for file in _modules("agent")
        for name in _imports(file)
        if name.split(".")[0] not in allowed | set(sys.stdlib_module_names)
    }
    assert strangers == set()
