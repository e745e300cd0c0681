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
from typing import (
    Any,
    Callable,
    Literal,
    Optional,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")

LATER = {"later": True}
"""Metadata of a field that its contract got later, with a default: left out where it has that.

So what does not use it is written, and has the digest, as before, and is read by who does not know it.
"""

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
    if value is None or isinstance(value, (str, int)):
        return value
    kind: Any = value.__class__  # mypy at times takes a type[Any] for nothing that can be hashed
    names = _field_names(kind)
    if names is not None:
        document = {name: encode(getattr(value, name)) for name in names}
        for name, default in _later_fields(kind):
            if getattr(value, name) == default:
                del document[name]
        return document
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


@functools.cache
def _later_fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """The names and defaults of the fields that are LATER."""
    return tuple((f.name, f.default) for f in dataclasses.fields(kind) if LATER.keys() <= f.metadata.keys())


@functools.cache
def _field_names(kind: type) -> Optional[tuple[str, ...]]:
    """The names of a dataclass's fields; None for what is none."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def decode(kind: type[T], value: Any) -> T:
    """`value`, as JSON gave it, as a `kind`.

    Raises CodecError for a missing, unknown or mistyped field; fields with a default may be missing.
    """
    try:
        return cast(T, _decoder(cast(Any, kind))(value))
    except _MisfitError as misfit:
        raise CodecError(f"{misfit.path.lstrip('.') or misfit.root}: {misfit}") from misfit.__cause__


class _MisfitError(Exception):
    """What is wrong, and where: `path` grows on the way out; `root` stands for it where it is empty."""

    def __init__(self, what: str, root: str = "document") -> None:
        super().__init__(what)
        self.path = ""
        self.root = root


Decoder = Callable[[Any], Any]


@functools.cache
def _decoder(kind: Any) -> Decoder:
    """What decodes a `kind`, made once: a bundle has tens of thousands of values."""
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(cast(type, kind))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:
        return _union_decoder(arguments)
    if origin is Literal:
        return _literal_decoder(arguments)
    if origin is tuple:
        return _tuple_decoder(_decoder(arguments[0]))
    if origin is dict:
        return _dict_decoder(_decoder(arguments[1]))
    if kind is Any:
        return _decode_any
    if kind is float:
        return _decode_float
    return _plain_decoder(kind)


def _plain_decoder(kind: type) -> Decoder:
    def run(value: Any) -> Any:
        if type(value) is not kind:
            raise _mismatch(kind.__name__, value)
        return value

    return run


def _literal_decoder(choices: tuple[Any, ...]) -> Decoder:
    def run(value: Any) -> Any:
        if value not in choices:
            raise _mismatch(" or ".join(map(repr, choices)), value)
        return value

    return run


def _tuple_decoder(decode_item: Decoder) -> Decoder:
    def run(value: Any) -> Any:
        if not isinstance(value, list):
            raise _mismatch("a list", value)
        done: list[Any] = []
        try:
            for item in value:
                done.append(decode_item(item))
        except _MisfitError as misfit:
            misfit.path = f"[{len(done)}]{misfit.path}"
            raise
        return tuple(done)

    return run


def _dict_decoder(decode_item: Decoder) -> Decoder:
    def run(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        done = {}
        for key, item in value.items():
            try:
                done[key] = decode_item(item)
            except _MisfitError as misfit:
                misfit.path = f".{key}{misfit.path}"
                raise
        return done

    return run


def _union_decoder(members: tuple[Any, ...]) -> Decoder:
    optional = type(None) in members
    *others, last = (_decoder(member) for member in members if member is not type(None))

    def run(value: Any) -> Any:
        if value is None and optional:
            return None
        for other in others:
            try:
                return other(value)
            except _MisfitError:
                continue
        return last(value)

    return run


def _dataclass_decoder(kind: type) -> Decoder:
    hints = get_type_hints(kind)
    fields = [
        (field.name, _decoder(hints[field.name]), _has_default(field)) for field in dataclasses.fields(kind)
    ]
    names = {name for name, _, _ in fields}

    def run(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(f"an object ({kind.__name__})", value)
        if not names.issuperset(value):
            raise _MisfitError(f"unknown field {min(value.keys() - names)!r}", kind.__name__)
        arguments = {}
        for name, decode_field, has_default in fields:
            if name in value:
                try:
                    arguments[name] = decode_field(value[name])
                except _MisfitError as misfit:
                    misfit.path = f".{name}{misfit.path}"
                    raise
            elif not has_default:
                raise _MisfitError(f"field {name!r} is missing", kind.__name__)
        try:
            return kind(**arguments)
        except ValueError as error:
            raise _MisfitError(str(error), kind.__name__) from error

    return run


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _decode_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise _mismatch("float", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _MisfitError("expected a finite number")
    return number


def _decode_any(value: Any) -> Any:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, (list, dict)):
            raise _mismatch("a scalar or a list of scalars", value)
        if type(item) is float:
            _decode_float(item)
    return value


def _mismatch(expected: str, value: Any) -> _MisfitError:
    return _MisfitError(f"expected {expected}, not {type(value).__name__}")
