"""Strict JSON for frozen dataclasses: the only way in and out of the two contracts.

Job: `encode` a dataclass to plain JSON values, `decode` such values back, refusing whatever the
dataclass does not say, and `loads` what others wrote. Refuses to know what the fields mean: a dataclass
checks its own values in `__post_init__` by raising ValueError. Called by bundle, report, store, server and
the controller.

A field of type Any holds a JSON scalar or a list of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MOST_DIGITS = 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class CodecError(ValueError):
    """A value that does not fit its contract; the text starts with the path to it."""


def loads(data: Union[str, bytes, bytearray]) -> Any:
    """The JSON value that `data` holds, in UTF-8.

    Raises ValueError, and nothing else, also for what Python takes though JSON has it not (NaN, numbers
    beyond every number, halves of characters), for numbers of more than 20 digits, since reading one takes
    the square of its length, and for what is nested too deep.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, parse_int=_whole_number, parse_float=_number, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number with too many digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond every number")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def encode(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists, all the way down; everything else unchanged."""
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(kind: type[T], value: Any, path: str = "") -> T:
    """`value`, as JSON gave it, as a `kind`.

    Raises CodecError for a missing, unknown or mistyped field; fields with a default may be missing.
    """
    return cast(T, _decode(kind, value, path))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(cast(type, kind), value, path)
    origin = get_origin(kind)
    if origin is Union:
        return _decode_union(kind, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            raise _mismatch(path, " or ".join(map(repr, get_args(kind))), value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(path, "a list", value)
        return tuple(_decode(get_args(kind)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(path, "an object", value)
        return {key: _decode(get_args(kind)[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is Any:
        return _decode_any(value, path)
    if kind is float and type(value) in (int, float):
        return _decode_float(value, path)
    if type(value) is not kind:
        raise _mismatch(path, kind.__name__, value)
    return value


def _decode_float(value: Union[int, float], path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CodecError(f"{path or 'document'}: expected a finite number")
    return number


def _decode_any(value: Any, path: str) -> Any:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, (list, dict)):
            raise _mismatch(path, "a scalar or a list of scalars", value)
        if type(item) is float:
            _decode_float(item, path)
    return value


def _decode_union(kind: Any, value: Any, path: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    members = [member for member in get_args(kind) if member is not type(None)]
    for member in members[:-1]:
        try:
            return _decode(member, value, path)
        except CodecError:
            continue
    return _decode(members[-1], value, path)


def _decode_dataclass(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(path, f"an object ({kind.__name__})", value)
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise CodecError(f"{path or kind.__name__}: unknown field {unknown[0]!r}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _decode(hints[name], value[name], f"{path}.{name}" if path else name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise CodecError(f"{path or kind.__name__}: field {name!r} is missing")
    try:
        return kind(**arguments)
    except CodecError:
        raise
    except ValueError as error:
        raise CodecError(f"{path or kind.__name__}: {error}") from error


def _mismatch(path: str, expected: str, value: Any) -> CodecError:
    return CodecError(f"{path or 'document'}: expected {expected}, not {type(value).__name__}")
