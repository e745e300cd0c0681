"""Fields for scripts. That they are wg's for any device is tested beside it, in tests/lab."""

from __future__ import annotations

import pytest

from agent.wg.fields import FIELDS, render
from tests.agent.wg.samples import DEVICE, EMPTY, FIRST, NOW, PRIVATE, PSK, PUBLIC, SECOND, THIRD, b64


@pytest.mark.parametrize(
    ("field", "lines"),
    [
        ("public-key", [b64(PUBLIC)]),
        ("private-key", [b64(PRIVATE)]),
        ("listen-port", ["51820"]),
        ("fwmark", ["0x10"]),
        ("peers", [b64(FIRST), b64(SECOND), b64(THIRD)]),
        ("preshared-keys", [f"{b64(FIRST)}\t(none)", f"{b64(SECOND)}\t{b64(PSK)}", f"{b64(THIRD)}\t(none)"]),
        (
            "endpoints",
            [f"{b64(FIRST)}\t(none)", f"{b64(SECOND)}\t[2001:db8::]:5", f"{b64(THIRD)}\t192.0.2.1:500"],
        ),
        (
            "allowed-ips",
            [f"{b64(FIRST)}\t(none)", f"{b64(SECOND)}\t10.0.0.0/8 fd00::/64", f"{b64(THIRD)}\t(none)"],
        ),
        (
            "latest-handshakes",
            [f"{b64(FIRST)}\t0", f"{b64(SECOND)}\t{NOW - 3665}", f"{b64(THIRD)}\t{NOW - 65}"],
        ),
        (
            "transfer",
            [
                f"{b64(FIRST)}\t0\t0",
                f"{b64(SECOND)}\t1025\t1023",
                f"{b64(THIRD)}\t1234567890123456\t102300000000",
            ],
        ),
        ("persistent-keepalive", [f"{b64(FIRST)}\toff", f"{b64(SECOND)}\t25", f"{b64(THIRD)}\t61"]),
    ],
)
def test_each_field(field: str, lines: list[str]) -> None:
    assert render(field, DEVICE).splitlines() == lines
    assert render(field, DEVICE, "wg0").splitlines() == [f"wg0\t{line}" for line in lines]


def test_dump_has_everything() -> None:
    first, *_, last = render("dump", DEVICE).splitlines()
    assert first == "\t".join([b64(PRIVATE), b64(PUBLIC), "51820", "0x10"])
    assert last == "\t".join(
        [
            b64(THIRD),
            "(none)",
            "192.0.2.1:500",
            "(none)",
            str(NOW - 65),
            "1234567890123456",
            "102300000000",
            "61",
        ]
    )


def test_nothing_set() -> None:
    assert render("dump", EMPTY) == "(none)\t(none)\t0\toff\n"
    assert [render(field, EMPTY) for field in FIELDS if field.endswith("s")] == [""] * 5
