"""Writes JSON as RapidJSON's PrettyWriter does, and numbers as TensorFlow Serving does: every byte as the genuine one.

Floats are `%g` with six digits where that reads back as the same value, else with nine (doubles: seventeen); a `.0` is
added where there is neither point nor exponent; NaN and Infinity are bare. Sources: rapidjson/prettywriter.h v1.1.0,
util/json_tensor.cc of github.com/tensorflow/serving.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from serving.servers.tfserving.json_codec.numbers import grisu_digits
from serving.servers.tfserving.json_codec.reader import JsonObject
from serving.servers.tfserving.status import Status

DUMP_BYTES = 256
"""A value in an error message stops at the first token that begins behind so many bytes."""
_ESCAPED = {
    **{byte: f"\\u{byte:04X}".encode() for byte in range(0x20)},
    **dict(zip(b'\b\t\n\f\r"\\', (b"\\b", b"\\t", b"\\n", b"\\f", b"\\r", b'\\"', b"\\\\"), strict=True)),
}
_TO_ESCAPE = bytes(_ESCAPED)
_DIGITS = {4: 9, 8: 17}


def quote(text: bytes) -> bytes:
    """A JSON string; bytes outside ASCII go out as they are."""
    if text.translate(None, _TO_ESCAPE) != text:
        text = b"".join(_ESCAPED.get(byte) or bytes((byte,)) for byte in text)
    return b'"' + text + b'"'


def error_body(message: str) -> bytes:
    """The body of every REST error."""
    return b'{\n    "error": ' + quote(message.encode("utf-8", "surrogateescape")) + b"\n}"


def float_texts(values: np.ndarray) -> list[str]:
    """The text of each value of a float32 or float64 array."""
    flat = values.ravel()
    numbers = flat.tolist()
    if not numbers:
        return []
    if not np.isfinite(flat).all():
        return [_float_text(number, flat.dtype) for number in numbers]
    short = ("%.6g," * len(numbers) % tuple(numbers))[:-1]
    with np.errstate(over="ignore"):  # six digits of the largest float may be above it
        same = np.array(orjson.loads(f"[{short}]"), flat.dtype) == flat
    if same.any():
        texts = short.split(",")
        if not same.all():
            texts = [
                text if fits else _long(number, flat.dtype)
                for text, fits, number in zip(texts, same.tolist(), numbers, strict=True)
            ]
    else:
        digits = _DIGITS[flat.dtype.itemsize]
        texts = (f"%.{digits}g," * len(numbers) % tuple(numbers))[:-1].split(",")
    return [text if "." in text or "e" in text else f"{text}.0" for text in texts]


def _long(number: float, dtype: np.dtype[Any]) -> str:
    return f"{number:.{_DIGITS[dtype.itemsize]}g}"


def _float_text(number: float, dtype: np.dtype[Any]) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return float_texts(np.array([number], dtype))[0]


class PrettyWriter:
    """Four blanks a level; `inline` puts the elements of arrays on one line and may be switched at any time."""

    def __init__(self, inline: bool = False) -> None:
        self.inline = inline
        self.parts: list[bytes] = []
        self.size = 0
        self._levels: list[list[int]] = []  # [is array, values so far]

    def put(self, part: bytes) -> None:
        """Append bytes as they are."""
        self.parts.append(part)
        self.size += len(part)

    def value(self, text: bytes) -> None:
        """A scalar or a key, already as JSON."""
        self._prefix()
        self.put(text)

    def start(self, bracket: bytes) -> None:
        """Open an array or an object."""
        self.value(bracket)
        self._levels.append([bracket == b"[", 0])

    def end(self, bracket: bytes) -> None:
        """Close it."""
        is_array, count = self._levels.pop()
        if count and not (is_array and self.inline):
            self._new_line()
        self.put(bracket)

    def result(self) -> bytes:
        """All that was written."""
        return b"".join(self.parts)

    def _new_line(self) -> None:
        self.put(b"\n" + b"    " * len(self._levels))

    def _prefix(self) -> None:
        if not self._levels:
            return
        level = self._levels[-1]
        is_array, count = level
        level[1] += 1
        if is_array:
            if count:
                self.put(b", " if self.inline else b",")
            if not self.inline:
                self._new_line()
        elif count % 2:
            self.put(b": ")
        else:
            if count:
                self.put(b",")
            self._new_line()


def dump(value: Any) -> str:
    """A value as error messages show it: PrettyWriter's text, ended at the first token behind 256 bytes."""
    writer = PrettyWriter(inline=True)
    for kind, text in _tokens(value):
        if writer.size >= DUMP_BYTES:
            break
        if kind == "start":
            writer.start(text)
        elif kind == "end":
            writer.end(text)
        else:
            writer.value(text)
            if not text:
                break  # PrettyWriter refuses NaN and Infinity, which ends the walk
    return writer.result().decode("utf-8", "surrogateescape")


def _tokens(value: Any) -> Iterator[tuple[str, bytes]]:
    """The handler calls of `rapidjson::Value::Accept`, without recursion."""
    stack: list[Iterator[Any]] = [iter((value,))]
    closers: list[bytes] = []
    while stack:
        for item in stack[-1]:
            if isinstance(item, list):
                members = _members(item) if isinstance(item, JsonObject) else None
                yield "start", b"{" if members else b"["
                closers.append(b"}" if members else b"]")
                stack.append(members or iter(item))
                break
            yield "value", scalar_text(item)
        else:
            stack.pop()
            if closers:
                yield "end", closers.pop()


def _members(item: JsonObject) -> Iterator[Any]:
    for name, value in item:
        yield name
        yield value


def scalar_text(value: Any) -> bytes:
    """A scalar of `json_reader` as RapidJSON writes it; empty for NaN and Infinity, which it does not write."""
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, bytes):
        return quote(value)
    if isinstance(value, int):
        return b"%d" % value
    return _shortest(value).encode() if math.isfinite(value) else b""


def _shortest(number: float) -> str:
    """`internal::dtoa`: few digits, positional from 1e-6 to 1e21."""
    if number == 0:
        return "-0.0" if math.copysign(1, number) < 0 else "0.0"
    digits, power = grisu_digits(abs(number))
    return ("-" if number < 0 else "") + _prettify(digits, power)


def _prettify(digits: str, power: int) -> str:
    point = len(digits) + power  # 10^(point-1) <= value < 10^point
    if power >= 0 and point <= 21:
        return digits + "0" * power + ".0"
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    return f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{point - 1}"


def refuse_type(datatype: str) -> Status:
    """A tensor of this type can't be written as JSON."""
    return Status("INVALID_ARGUMENT", f"Failed to write JSON value for tensor type: {datatype}")
