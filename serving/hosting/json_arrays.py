"""Reads long JSON arrays in pieces, so that no single call into a parser holds the interpreter's lock for long.

A parser written in C keeps the lock for its whole text: 64 MiB are half a second in which no other thread of the
process runs, not even the event loop's. `cut` takes the long arrays out of a text; `LongArray.parts` gives the elements
of one as short texts of their own. The scan is done by NumPy, which lets go of the lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PIECE_BYTES = 1 << 20
CUT_BYTES = 1 << 10
"""Shorter arrays stay in the text."""
QUOTE, COMMA, OPEN, CLOSE, OPEN_OBJECT, CLOSE_OBJECT, BACKSLASH, BLANK = b'",[]{}\\ '
STRUCTURE = np.zeros(256, np.bool_)
STRUCTURE[list(b",[]{}:")] = True


@dataclass
class LongArray:
    """One array of a JSON text."""

    text: memoryview
    """With its brackets."""
    structure: bytes = b""
    """Its commas, colons, brackets and braces outside of strings, once all parts were read."""

    def parts(self) -> Iterator[bytes]:
        """Its elements, in order and whatever their nesting, as texts of flat JSON arrays."""
        structure: list[bytes] = []
        rest: list[bytes] = []
        for piece, outside in _scan(self.text):
            structure.append(piece[outside & STRUCTURE[piece]].tobytes())
            flat = np.where(outside & ((piece == OPEN) | (piece == CLOSE)), np.uint8(BLANK), piece)
            commas = np.flatnonzero(outside & (piece == COMMA))
            if len(commas):
                yield b"".join((b"[", *rest, flat[: commas[-1]].tobytes(), b"]"))
                rest = []
                flat = flat[commas[-1] + 1 :]
            rest.append(flat.tobytes())
        yield b"".join((b"[", *rest, b"]"))
        self.structure = b"".join(structure)

    def has_shape(self, shape: Sequence[int]) -> bool:
        """Whether its elements are flat or nested as `shape` says; asked when all parts were read."""
        count = int(np.prod(shape))
        return self.structure in (_structure_of([count]), _structure_of(shape))


def cut(text: bytes | memoryview, depth: int) -> tuple[bytes, dict[str, LongArray]]:
    """Take the long arrays inside `depth` brackets and braces out of a text.

    The text that is left has strings in their places that nobody can guess: the keys of the arrays.
    """
    view = memoryview(text)
    left: list[bytes | memoryview] = []
    arrays: dict[str, LongArray] = {}
    end = 0
    for start, stop in _arrays_at(view, depth):
        if stop - start >= CUT_BYTES:
            key = secrets.token_hex()
            arrays[key] = LongArray(view[start:stop])
            left += [view[end:start], f'"{key}"'.encode()]
            end = stop
    return b"".join([*left, view[end:]]), arrays


def _arrays_at(text: memoryview, depth: int) -> Iterator[tuple[int, int]]:
    """Where each array that lies inside `depth` brackets begins and ends."""
    now, start, begun = 0, 0, -1
    for piece, outside in _scan(text):
        opens = outside & ((piece == OPEN) | (piece == OPEN_OBJECT))
        closes = outside & ((piece == CLOSE) | (piece == CLOSE_OBJECT))
        after = now + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
        first = opens & (piece == OPEN) & (after == depth + 1)
        last = closes & (piece == CLOSE) & (after == depth)
        for position in np.flatnonzero(first | last).tolist():
            if first[position]:
                begun = start + position
            elif begun >= 0:
                yield begun, start + position + 1
                begun = -1
        now = int(after[-1])
        start += len(piece)


def _scan(text: memoryview) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The text in pieces, each with a mask of what lies outside of strings."""
    in_string = is_escaped = False
    for start in range(0, len(text), PIECE_BYTES):
        piece = np.frombuffer(text[start : start + PIECE_BYTES], np.uint8)
        quotes = piece == QUOTE
        is_escaped = _drop_escaped(piece, quotes, is_escaped)
        inside = (np.cumsum(quotes, dtype=np.int32) + in_string) % 2 == 1
        yield piece, ~inside
        in_string = bool(inside[-1])


def _drop_escaped(piece: np.ndarray, quotes: np.ndarray, is_escaped: bool) -> bool:
    """Take quotes behind a backslash out of a mask of quotes; returns whether the next piece begins with one such."""
    backslashes = np.flatnonzero(piece == BACKSLASH)
    if is_escaped:
        quotes[0] = False
        backslashes = backslashes[backslashes > 0]
    if not len(backslashes):
        return False
    firsts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)  # of each row of backslashes
    lengths = np.diff(firsts, append=len(backslashes))
    ends = backslashes[firsts] + lengths
    escaped = ends[lengths % 2 == 1]
    quotes[escaped[escaped < len(piece)]] = False
    return bool(len(escaped)) and int(escaped[-1]) == len(piece)


def _structure_of(shape: Sequence[int]) -> bytes:
    """The structure of an array nested as `shape` says."""
    inner = b""
    for size in reversed(shape):
        inner = b"".join((b"[", (inner + b",") * (size - 1), inner, b"]")) if size else b"[]"
    return inner
