"""Reports are checked where the controller reads them."""

from __future__ import annotations

import json

import pytest

from agent.codec import CodecError
from agent.report import Observed, ObservedInterface, Report, from_json, to_json


def test_an_address_that_is_none() -> None:
    interface = ObservedInterface("wg0", "kernel", True, 1420, addresses=("10.77.0.1/32",))
    seen = Observed((interface,))
    report = Report(1, "ab" * 32, None, None, None, None, None, (), seen, (), (), (), {}, 1.0)
    assert from_json(to_json(report)) == report
    text = json.dumps(to_json(report)).replace("10.77.0.1/32", "10.77.0.one/32")
    with pytest.raises(CodecError, match=r"^observed\.interfaces\[0\]: '10\.77\.0\.one/32'"):
        from_json(json.loads(text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fleet", "../../../tmp/" + "f" * 19),
        ("fleet", "F" * 32),
        ("revision", 0),
        ("revision", 2**63 - 1),
        ("secrets", [{"id": "key/1", "generation": 2**63}]),
    ],
)
def test_what_names_files_and_counts_is_checked(field: str, value: object) -> None:
    report = Report(1, "ab" * 32, "fra1", "f" * 32, "acme", 7, None, (), Observed(), (), (), (), {}, 1.0)
    document = to_json(report)
    assert from_json(document) == report
    with pytest.raises(CodecError, match=rf"{field}|generation"):
        from_json({**document, field: value})
