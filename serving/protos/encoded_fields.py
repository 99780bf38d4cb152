"""Walks a serialized protobuf message field by field, without copying what is long.

`FromString` copies a message of 64 MiB while it holds the interpreter's lock, and a typed tensor's elements then become
Python objects one by one. Here a long field is a view of the message's own bytes.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES = 10
"""The longest varint of 64 bits."""
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EncodedField:
    """One field as it is written."""

    number: int
    kind: int
    """The wire type."""
    content: memoryview
    """What follows the tag, without the length of a length-delimited field."""
    whole: memoryview
    """Tag, length and content."""


def fields(message: memoryview) -> Iterator[EncodedField]:
    """The fields of a message, in order; raises DecodeError where it is none."""
    start = 0
    while start < len(message):
        tag, at = _varint(message, start)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, end = _varint(message, at)
        elif kind == LENGTH_DELIMITED:
            length, at = _varint(message, at)
            end = at + length
        elif kind in FIXED_BYTES:
            end = at + FIXED_BYTES[kind]
        else:
            raise DecodeError(f"wire type {kind}")
        if end > len(message) or not number:
            raise DecodeError("a field goes on behind the message's end")
        yield EncodedField(number, kind, message[at:end], message[start:end])
        start = end


def _varint(message: memoryview, start: int) -> tuple[int, int]:
    """A number, and where the next byte is."""
    value = 0
    for index, byte in enumerate(message[start : start + VARINT_BYTES]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, start + index + 1
    raise DecodeError("a number goes on behind the message's end")


def varint(value: int) -> bytes:
    """A number as a varint."""
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varints(packed: memoryview) -> np.ndarray:
    """A packed field of varints as 64-bit numbers without sign; NumPy lets go of the interpreter's lock meanwhile."""
    pieces: list[np.ndarray] = []
    start = 0
    while start < len(packed):
        piece = np.frombuffer(packed[start : start + PIECE_BYTES], np.uint8)
        ends = np.flatnonzero(piece < 128)
        if not len(ends):
            raise DecodeError("a packed number goes on behind the field's end")
        piece = piece[: ends[-1] + 1]
        lengths = np.diff(ends, prepend=-1)
        if lengths.max() > VARINT_BYTES:
            raise DecodeError("a packed number is too long")
        firsts = ends - lengths + 1
        values = np.zeros(len(ends), np.uint64)
        for index in range(int(lengths.max())):
            has = lengths > index
            values[has] |= (piece[firsts[has] + index] & 127).astype(np.uint64) << np.uint64(7 * index)
        pieces.append(values)
        start += len(piece)
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint64)


def message_with(head: bytes, number: int, contents: list[bytes]) -> bytes:
    """The serialized message `head` with a repeated field of bytes at its end, each copied once."""
    pieces, tag = [head], varint(number << 3 | LENGTH_DELIMITED)
    for content in contents:
        pieces += (tag, varint(len(content)), content)
    return b"".join(pieces)
