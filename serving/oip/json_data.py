"""JSON texts and the `data` of JSON tensors.

Numbers go from the text straight into an array (simdjson's buffers), never through Python floats.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import simdjson

from contract import TensorSpec
from serving.hosting.errors import RequestError
from serving.hosting.json_arrays import LongArray, cut
from serving.hosting.tensors import bytes_array, shape_text

SMALL_BYTES = 2**21
"""A parser keeps the memory of the largest text that it has seen; larger ones get a parser of their own."""
TENSOR_DEPTH = 3
"""The `data` of a tensor lies inside the request's object, the list `inputs` and the tensor's object."""
REST_BYTES = 2**22
"""The most that a long request may have beside its tensors' data: it is parsed in one piece."""


class _Parsers(threading.local):
    """One parser a thread."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_PARSERS = _Parsers()


def parse_text(text: bytes | memoryview) -> Any:
    """Parse a JSON text; raises RequestError where it is none."""
    parser = _PARSERS.parser if len(text) < SMALL_BYTES else simdjson.Parser()
    try:
        try:
            return parser.parse(text)
        except RuntimeError as error:
            if "re-use" not in str(error):  # BIGINT_ERROR and its like
                raise
            _PARSERS.parser = simdjson.Parser()  # an error's traceback still holds parts of the last text
            return _PARSERS.parser.parse(text)
    except (ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"the request is not JSON: {str(error).partition('.')[0]}") from None


def parse_text_in_pieces(text: bytes | memoryview) -> tuple[Any, dict[str, LongArray]]:
    """Parse a long JSON text but for its tensors' data, which it has keys for; raises RequestError."""
    rest, arrays = cut(text, TENSOR_DEPTH)
    if len(rest) > REST_BYTES:
        raise RequestError(
            400, f"the request has {len(rest)} bytes beside its data, the most that is read: {REST_BYTES}"
        )
    return _parse_apart(rest), arrays


def _parse_apart(text: bytes) -> Any:
    """Parse a text whose parts are read while other texts are parsed."""
    try:
        return simdjson.Parser().parse(text)
    except (ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"the request is not JSON: {str(error).partition('.')[0]}") from None


def read_data(spec: TensorSpec, shape: list[int], data: Any) -> np.ndarray:
    """The array in a `data` field, flat or nested as the shape says."""
    count = math.prod(shape)
    needs = f"input {spec.name!r}: shape {shape_text(shape)} needs {count} elements"
    if isinstance(data, LongArray):
        array = np.concatenate([_elements(spec, parse_text(part)) for part in data.parts()])
        if not data.has_shape(shape):
            got = "rows of other lengths" if len(array) == count else len(array)
            raise RequestError(400, f"{needs}, flat or nested, got {got}")
        return array.reshape(shape)
    if type(data) is not simdjson.Array:
        raise RequestError(400, f"input {spec.name!r} must have `data`, a list, or binary data behind the JSON")
    is_flat = len(data) == count and (count == 0 or type(data[0]) is not simdjson.Array)
    if not is_flat and not _is_nested(data, shape):
        got = len(data) if not len(data) or type(data[0]) is not simdjson.Array else "rows of other lengths"
        raise RequestError(400, f"{needs}, flat or nested, got {got}")
    array = _elements(spec, data)
    if len(array) != count:
        raise RequestError(400, f"{needs}, got {len(array)}")
    return array.reshape(shape)


def _is_nested(data: Any, shape: Sequence[int]) -> bool:
    """Whether the lists are nested exactly as `shape` says."""
    if not shape or len(data) != shape[0]:
        return False
    if len(shape) == 1:
        return True
    return all(type(row) is simdjson.Array and _is_nested(row, shape[1:]) for row in data)


def _elements(spec: TensorSpec, data: Any) -> np.ndarray:
    """The elements of a list, nested or not, as a flat array of the tensor's dtype."""
    dtype = spec.dtype
    try:
        if dtype.kind == "f":
            with np.errstate(over="raise"):
                return np.frombuffer(data.as_buffer(of_type="d"), np.float64).astype(dtype)
        if dtype.kind in "iu":
            letter, wide = ("i", np.int64) if dtype.kind == "i" else ("u", np.uint64)
            return _narrowed(np.frombuffer(data.as_buffer(of_type=letter), wide), dtype)
    except (TypeError, ValueError, OverflowError, FloatingPointError):
        message = f"input {spec.name!r}: every element of `data` must be a number that {spec.datatype} holds"
        raise RequestError(400, message) from None
    kind: type = bool if spec.datatype == "BOOL" else str
    elements = _flattened(data.as_list())
    if not all(type(element) is kind for element in elements):
        what = "true or false" if kind is bool else "a string"
        raise RequestError(400, f"input {spec.name!r}: every element of `data` must be {what}, for {spec.datatype}")
    if kind is bool:
        return np.array(elements, np.bool_)
    return bytes_array([element.encode() for element in elements], [len(elements)])


def _narrowed(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    limits = np.iinfo(dtype)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise OverflowError
    return array.astype(dtype)


def _flattened(elements: list[Any]) -> list[Any]:
    while any(isinstance(element, list) for element in elements):
        elements = [leaf for element in elements for leaf in (element if isinstance(element, list) else [element])]
    return elements
