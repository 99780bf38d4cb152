"""The `data` of a JSON tensor as an array.

Numbers go from the text straight into an array (simdjson's buffers), never through Python floats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import simdjson

from contract import TensorSpec
from serving.hosting.signature import Refusal, bytes_array, shown


def read_data(spec: TensorSpec, shape: list[int], data: Any) -> np.ndarray:
    """The array in a `data` field, flat or nested as the shape says."""
    if type(data) is not simdjson.Array:
        raise Refusal(400, f"input {spec.name!r} must have `data`, a list, or binary data behind the JSON")
    count = math.prod(shape)
    if len(data) == count and (count == 0 or type(data[0]) is not simdjson.Array):
        array = _elements(spec, data)
    else:
        if not _is_nested(data, shape):
            found = len(data) if not len(data) or type(data[0]) is not simdjson.Array else "rows of other lengths"
            raise Refusal(
                400, f"input {spec.name!r}: shape {shown(shape)} needs {count} elements, flat or nested, got {found}"
            )
        array = _elements(spec, data)
    if len(array) != count:
        raise Refusal(400, f"input {spec.name!r}: shape {shown(shape)} needs {count} elements, got {len(array)}")
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
        raise Refusal(400, message) from None
    kind: type = bool if spec.datatype == "BOOL" else str
    elements = _flattened(data.as_list())
    if not all(type(element) is kind for element in elements):
        what = "true or false" if kind is bool else "a string"
        raise Refusal(400, f"input {spec.name!r}: every element of `data` must be {what}, for {spec.datatype}")
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
