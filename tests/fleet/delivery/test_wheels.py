"""Which wheels fit which Python."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.delivery.wheels import MODULES, choose, locked_wheels, parse_lock
from tests.fleet.delivery.made import python

MUSL: dict[str, Any] = {"libc": "musl", "libc_version": (1, 2)}


def files(module: str, machine: str = "x86_64", **values: Any) -> list[str]:
    chosen = choose(locked_wheels(), module, machine, python(**values))
    assert chosen is not None
    return [wheel.file for wheel in chosen]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("libc", [{}, MUSL, {"libc_version": (2, 17)}])
@pytest.mark.parametrize("minor", range(9, 15))
def test_every_module_comes_to_every_host_that_is_promised(
    minor: int, libc: dict[str, Any], machine: str
) -> None:
    for module in MODULES:
        for file in files(module, machine, version=(3, minor, 0), **libc):
            tags = file.removesuffix(".whl").split("-")[2:]
            assert tags[2] == "any" or machine in tags[2]
            assert tags[2] == "any" or ("musl" in tags[2]) == ("libc" in libc)
            assert tags[1] in ("none", "abi3", f"cp3{minor}")
            assert tags[0] == "py3" or int(tags[0].removeprefix("cp3")) <= minor


def test_the_newest_stable_abi_is_preferred() -> None:
    assert "-cp39-abi3-" in files("cryptography", version=(3, 9, 2))[0]
    assert "-cp311-abi3-" in files("cryptography", version=(3, 13, 0))[0]


def test_what_a_module_needs_comes_along() -> None:
    assert [name.split("-")[0] for name in files("cryptography", version=(3, 10, 1))] == [
        "cryptography",
        "cffi",
        "typing_extensions",
    ]
    assert [name.split("-")[0] for name in files("nacl", version=(3, 11, 0))] == ["pynacl", "cffi"]
    assert [name.split("-")[0] for name in files("pyroute2")] == ["pyroute2"]


@pytest.mark.parametrize(
    ("machine", "values"),
    [
        ("riscv64", {}),
        ("armv7l", {"bits": 32}),
        ("x86_64", {"bits": 32}),
        ("x86_64", {"kind": "pypy"}),
        ("x86_64", {"kind": "cpythont"}),
        ("x86_64", {"version": (3, 15, 0)}),
        ("x86_64", {"libc_version": (2, 12)}),
    ],
)
def test_other_hosts_get_what_is_pure_python_alone(machine: str, values: dict[str, Any]) -> None:
    assert choose(locked_wheels(), "cryptography", machine, python(**values)) is None
    assert files("pyroute2", machine, **values)


def test_a_lock_file_is_checked() -> None:
    good = f"# a comment\ncffi-2.0.0-py3-none-any.whl {'0' * 64}\n"
    assert [wheel.distribution for wheel in parse_lock(good)] == ["cffi"]
    with pytest.raises(ValueError, match="not a line"):
        parse_lock("cffi-2.0.0-py3-none-any.whl 00\n")
    with pytest.raises(ValueError, match="cffi"):
        parse_lock(f"cffi.whl {'0' * 64}\n")
