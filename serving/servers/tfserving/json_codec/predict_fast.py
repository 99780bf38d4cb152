"""The usual predict request in a fraction of the time: numbers for a model with one numeric input.

simdjson reads the numbers straight into an array; what remains of the text without them, its skeleton of brackets and
commas, is looked up to get the shape. None is returned wherever this can't prove that the exact path would give the
same: then `json_tensors.py` reads the body again.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import simdjson

from serving.servers.tfserving.json_codec.predict_exact import Request, flush
from serving.servers.tfserving.model.signatures import DEFAULT, Kind, Signature
from serving.servers.tfserving.status import Status

_HEAD = re.compile(
    rb'[ \n\r\t]*\{[ \n\r\t]*(?:"signature_name"[ \n\r\t]*:[ \n\r\t]*"([A-Za-z0-9_./-]+)"[ \n\r\t]*,[ \n\r\t]*)?'
    rb'"(instances|inputs)"[ \n\r\t]*:[ \n\r\t]*(?=\[)'
)
_NUMBERS = b"0123456789.eE+- \n\r\t"
_MAX_SKELETON_BYTES = 1 << 16
_MAX_SKELETONS = 256
_MAX_RANK = 16
LARGE_BYTES = 1 << 20
"""A text from here on gets a parser of its own, which keeps no memory of its size."""
# By item size: the type of the bits, the sign's bit, the bits of the smallest normal number.
_BITS: dict[int, tuple[Any, Any, Any]] = {
    4: (np.uint32, np.uint32(1 << 31), np.uint32(1 << 23)),
    8: (np.uint64, np.uint64(1 << 63), np.uint64(1 << 52)),
}
_READ_AS: dict[str, Literal["d", "i", "u"]] = {
    "float": "d",
    "double": "d",
    "int8": "i",
    "int16": "i",
    "int32": "i",
    "int64": "i",
    "uint8": "i",
    "uint32": "i",
    "uint64": "u",
}
_DTYPES: dict[str, np.dtype[Any]] = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}


class _Parsers(threading.local):
    """A parser per thread: it is used again and again, but not while its last values are alive."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_parsers = _Parsers()
_skeletons: dict[bytes, tuple[int, ...]] = {}


def read_predict(body: bytes, find: Callable[[str], Signature]) -> Request | None:
    """The same as `json_tensors.read_predict`, or None where that one has to look."""
    head = _HEAD.match(body)
    if head is None:
        return None
    end = body.rfind(b"]") + 1
    if body[end:].strip(b" \n\r\t") != b"}":
        return None
    values = body[head.end() : end]
    shape = shape_of(values.translate(None, _NUMBERS))
    if shape is None:
        return None
    name, key = head.groups()
    try:
        signature = find(name.decode() if name else DEFAULT)
    except Status:
        return None  # a mistake in the text is reported first
    if len(signature.inputs) != 1:
        return None
    (port,) = signature.inputs.values()
    array = _read_numbers(values, port.kind)
    if array is None or array.size != math.prod(shape):
        return None
    return signature, {port.alias: array.reshape(shape)}, key == b"instances"


def shape_of(skeleton: bytes) -> tuple[int, ...] | None:
    """The shape of a nested list by its brackets and commas; None where it is no regular one with elements."""
    shape = _skeletons.get(skeleton)
    if shape is None and (shape := _derive(skeleton)) is not None and len(skeleton) <= _MAX_SKELETON_BYTES:
        if len(_skeletons) >= _MAX_SKELETONS:
            _skeletons.pop(next(iter(_skeletons)))
        _skeletons[skeleton] = shape
    return shape


def _derive(skeleton: bytes) -> tuple[int, ...] | None:
    """Guess the shape from the first lists, the innermost first, and hold the guess against the whole text."""
    rank = len(skeleton) - len(skeleton.lstrip(b"["))
    if not 0 < rank <= _MAX_RANK:
        return None
    commas = len(skeleton) - rank - len(skeleton[rank:].lstrip(b","))
    sizes, text = [commas + 1], b"[" + b"," * commas + b"]"
    for depth in range(rank - 2, -1, -1):
        size, at = 1, depth + 1 + len(text)
        while skeleton[at : at + 1] == b",":
            size, at = size + 1, at + 1 + len(text)
        sizes.append(size)
        text = b"[" + b",".join([text] * size) + b"]"
    return tuple(reversed(sizes)) if text == skeleton else None


def _read_numbers(values: bytes, kind: Kind | None) -> np.ndarray | None:
    """All numbers of a nested list in order, as `kind`; None for a list that holds anything else."""
    if kind is None or kind.name not in _READ_AS:
        return None
    read_as = _READ_AS[kind.name]
    try:
        parsed = (_parsers.parser if len(values) < LARGE_BYTES else simdjson.Parser()).parse(values)
        if not isinstance(parsed, simdjson.Array):
            return None
        buffer = parsed.as_buffer(of_type=read_as)
    except (ValueError, TypeError, RuntimeError):  # no JSON, or no list of such numbers
        return None
    array = np.frombuffer(buffer, _DTYPES[read_as])
    if kind.json is None:
        return _narrow(array, kind)
    low, high = kind.json
    if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
        return None
    return array.astype(kind.dtype)


def _narrow(array: np.ndarray, kind: Kind) -> np.ndarray:
    """Doubles as the kind's type; denormals, rare enough to be looked for first, become zero."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = array.astype(kind.dtype)
    unsigned, sign, smallest = _BITS[kind.dtype.itemsize]
    if (((narrow.view(unsigned) & ~sign) - unsigned(1)) < smallest - unsigned(1)).any():
        return flush(array, kind)
    return narrow
