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
