"""Why a file is not YAML, in words that name the cure. Pure. Called by `document`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from fleet.errors import Finding, Location

_WORD = re.compile(r"[^\s,\]}]+")
_INI = re.compile(r"\[[^\],]+\]\s*(#.*)?$|[^\s:\[{\"']+(\s+\w+=\S+)+\s*$")
_TAKEN_FOR = {"*": "an alias", "&": "an anchor", "!": "a tag"}
INI_CURE = "this is an INI inventory; fleet reads YAML: ansible-inventory -i FILE --list --yaml converts it"


def explain(file: Path, text: str, error: yaml.YAMLError) -> Finding:
    """A finding for an error of PyYAML."""
    if looks_like_ini(text):
        return Finding(Location(file, 1, 1), INI_CURE)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position] if isinstance(error.position, int) else ""
        where = Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Finding(where, "not YAML: a control character")
    mark = getattr(error, "problem_mark", None)
    context_mark = getattr(error, "context_mark", None)
    if mark is None:
        return Finding(Location(file, 1, 1), f"not YAML: {error}")
    for place in (context_mark, mark):
        if place is not None and (message := _unquoted(text, place.index)):
            return Finding(Location(file, place.line + 1, place.column + 1), message)
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    if "another document" in problem:
        message = "a second document (`---`): an inventory is one"
    elif "mapping values are not allowed" in problem:
        message = "not YAML: a second `: ` on the line; quote the text, or mend the indentation above"
    elif context and context_mark is not None:
        message = f"not YAML: {problem} {context} that began on line {context_mark.line + 1}"
    else:
        message = f"not YAML: {problem}"
    return Finding(Location(file, mark.line + 1, mark.column + 1), message)


def looks_like_ini(text: str) -> bool:
    """Whether the first line that says something is a section or a host with `name=value`."""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and stripped[0] not in "#;":
            return bool(_INI.match(stripped))
    return False


def _unquoted(text: str, index: int) -> str | None:
    found = _WORD.match(text, index)
    word = found.group() if found else text[index : index + 1]
    first = word[:1]
    if first in _TAKEN_FOR:
        return f"YAML takes {word} for {_TAKEN_FOR[first]}; quote it: '{word}'"
    if first in ("@", "`", "%"):
        return f"YAML reserves {first} at the start of a text; quote it: '{word}'"
    if text[index : index + 1] == "\t":
        return "not YAML: a tab; indent with spaces"
    return None
