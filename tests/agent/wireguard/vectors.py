"""The data files of tests/vectors, which tells where each comes from in its ORIGIN.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text())
