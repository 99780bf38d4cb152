"""Reads frozen dataclasses back from the JSON that `dataclasses.asdict` makes of them. Pure."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class FieldError(ValueError):
    """A value that does not have the declared type; the message says where."""


def read_fields(kind: type[T], fields: Mapping[str, Any]) -> T:
    """An instance of the dataclass `kind` from its `asdict` fields; raises FieldError with the place of a mismatch."""
    value: T = _read(kind, fields, kind.__name__)
    return value


def _read(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, place)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, place)
    if origin is Literal:
        return _checked(value in arguments, value, f"one of {', '.join(map(str, arguments))}", place)
    if origin is tuple:
        _checked(isinstance(value, list | tuple), value, "a list", place)
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        _checked(len(kinds) == len(value), value, f"a list of {len(kinds)}", place)
        return tuple(_read(kinds[i], element, f"{place}[{i}]") for i, element in enumerate(value))
    if origin is dict:
        _checked(isinstance(value, dict), value, "an object", place)
        return {key: _read(arguments[1], element, f"{place}.{key}") for key, element in value.items()}
    if kind is float:
        return float(_checked(isinstance(value, int | float) and not isinstance(value, bool), value, "a number", place))
    strict = type(value) is kind  # a bool is no int here
    return _checked(strict, value, getattr(kind, "__name__", str(kind)), place)


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    _checked(isinstance(value, Mapping), value, "an object", place)
    hints = _hints(kind)
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    unknown = sorted(set(value) - set(hints))
    if missing or unknown:
        raise FieldError(f"{place}: missing {missing}, unknown {unknown}")
    return kind(**{name: _read(hints[name], element, f"{place}.{name}") for name, element in value.items()})


def _union(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    reasons = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _read(kind, value, place)
        except FieldError as error:
            reasons.append(str(error))
    raise FieldError("; ".join(reasons) or f"{place}: {value!r} is not null")


def _checked(right: bool, value: Any, expected: str, place: str) -> Any:
    if not right:
        raise FieldError(f"{place}: {str(value)[:60]!r} is not {expected}")
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {field.name: get_type_hints(kind)[field.name] for field in dataclasses.fields(kind)}
