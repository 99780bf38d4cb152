"""The usual predict request in a fraction of the time: numbers for a model with one numeric input.

simdjson reads the numbers straight into an array; the brackets and commas that remain of the text without its numbers
prove the shape. None is returned for anything else: then `predict` reads the body again. Large bodies are read in
pieces, between which other threads run.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import simdjson

from serving.servers.tfserving.json_codec.predict import Request, flush
from serving.servers.tfserving.model.signatures import DEFAULT, Kind, Signature
from serving.servers.tfserving.status import Status

PIECE_BYTES = 1 << 20
TAIL_BYTES = 1 << 10
"""Where the last bracket has to be."""
_HEAD = re.compile(
    rb'[ \n\r\t]*\{[ \n\r\t]*(?:"signature_name"[ \n\r\t]*:[ \n\r\t]*"([A-Za-z0-9_./-]+)"[ \n\r\t]*,[ \n\r\t]*)?'
    rb'"(instances|inputs)"[ \n\r\t]*:[ \n\r\t]*(?=\[)'
)
_BLANKS = b" \n\r\t"
_NUMBERS = b"0123456789.eE+-" + _BLANKS
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
_MAX_RANK = 16
_DTYPES: dict[Literal["d", "i", "u"], Any] = {"d": np.float64, "i": np.int64, "u": np.uint64}
_parsers = threading.local()
"""A parser per thread: it is used again and again, but not while its last values are alive."""


def read_predict(body: bytes | memoryview, find: Callable[[str], Signature]) -> Request | None:
    """The same as `predict.read_predict`, or None where that one has to look."""
    head = _HEAD.match(body)
    tail = bytes(body[-TAIL_BYTES:])
    behind = tail.rfind(b"]") + 1
    if head is None or not behind or tail[behind:].strip(_BLANKS) != b"}":
        return None
    end = len(body) - len(tail) + behind
    name, key = head.groups()
    pieces = list(_pieces(body, head.end(), end))
    if len(pieces) > 1 and any(map(_has_empty_place, pieces)):
        return None
    shape = _shape_of(b"".join([piece.translate(None, _NUMBERS) for piece in pieces]))
    try:
        signature = find(name.decode() if name else DEFAULT)
    except Status:
        return None  # a mistake in the text is reported first
    if shape is None or len(signature.inputs) != 1:
        return None
    (port,) = signature.inputs.values()
    array = None if port.kind is None else _read_numbers(pieces, port.kind)
    if array is None or array.size != math.prod(shape):
        return None
    return signature, {port.alias: array.reshape(shape)}, key == b"instances"


def _pieces(body: bytes | memoryview, start: int, end: int) -> Iterator[bytes]:
    """The text between two places, cut at commas, which end their pieces."""
    while end - start > PIECE_BYTES:
        piece = bytes(body[start : start + PIECE_BYTES])
        cut = piece.rfind(b",") + 1
        if not cut:
            break
        yield piece[:cut]
        start += cut
    yield bytes(body[start:end])


def _has_empty_place(piece: bytes) -> bool:
    """Whether a list is empty or a comma has no element beside it, as in `[]`, `[,` and `,]`.

    Where there is none, and one number between any two commas, each number is in an innermost list.
    """
    chars = np.frombuffer(piece, np.uint8)
    behind = chars[np.flatnonzero(chars == ord("[")) + 1]  # a piece ends in a comma or a closing bracket
    before = chars[np.flatnonzero(chars == ord("]")) - 1]
    if (behind <= ord(" ")).any() or (before <= ord(" ")).any():
        return _has_empty_place(piece.translate(None, _BLANKS))
    ends = (behind == ord("]")) | (behind == ord(","))
    return piece.startswith(b"]") or bool(ends.any() or (before == ord(",")).any())


def _shape_of(skeleton: bytes) -> tuple[int, ...] | None:
    """The shape of a nested list by its brackets and commas; None where it is no regular one with elements.

    The sizes are guessed from the ends of the first lists, and the guess is held against the whole text.
    """
    rank = len(skeleton) - len(skeleton.lstrip(b"["))
    if not 0 < rank <= _MAX_RANK:
        return None
    sizes, text = [], b""
    for depth in range(rank - 1, -1, -1):
        closers = rank - depth
        length = skeleton.find(b"]" * closers) + closers - depth
        size = max(1, (length - 1) // (len(text) + 1))
        sizes.append(size)
        text = b"[" + (text + b",") * (size - 1) + text + b"]"
    return tuple(reversed(sizes)) if text == skeleton else None


def _read_numbers(pieces: Sequence[bytes], kind: Kind) -> np.ndarray | None:
    """All numbers of a nested list in order, as `kind`; None where anything else is in it."""
    if kind.json is None and kind.name not in ("float", "double"):
        return None
    read_as: Literal["d", "i", "u"] = "d" if kind.json is None else "u" if kind.name == "uint64" else "i"
    if not hasattr(_parsers, "parser"):
        _parsers.parser = simdjson.Parser()
    arrays, texts = [], pieces
    if len(pieces) > 1:
        texts = [b"[%b]" % piece.translate(_NO_BRACKETS).rstrip(_BLANKS + b",") for piece in pieces]
    try:
        for text in texts:
            buffer = _parsers.parser.parse(text).as_buffer(of_type=read_as)
            arrays.append(_as_kind(np.frombuffer(buffer, _DTYPES[read_as]), kind))
    except (ValueError, TypeError, RuntimeError):  # no JSON, or no list of such numbers
        return None
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _as_kind(numbers: np.ndarray, kind: Kind) -> np.ndarray:
    """Numbers as the kind's type; raises ValueError for one that is out of its range."""
    if kind.json is None:
        return flush(numbers, kind)
    if numbers.size and not kind.json[0] <= int(numbers.min()) <= int(numbers.max()) <= kind.json[1]:
        raise ValueError(f"out of the range of {kind.name}")
    return numbers.astype(kind.dtype)
