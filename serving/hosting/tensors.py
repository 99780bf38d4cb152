"""Tensors as raw bytes and back: little-endian, row-major, each BYTES element behind its length in four bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from contract import DATATYPES, TensorSpec
from serving.hosting.errors import RequestError

ELEMENT_BYTES = {name: dtype.itemsize for name, dtype in DATATYPES.items() if name != "BYTES"}
LITTLE_ENDIAN = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATATYPES.items() if name != "BYTES"}


def shape_text(shape: Iterable[int]) -> str:
    """A shape as messages show it: `[-1,28,28,1]`."""
    return "[" + ",".join(map(str, shape)) + "]"


def from_bytes(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> np.ndarray:
    """The array in a tensor's raw bytes, read-only and without a copy; raises RequestError where the size is wrong."""
    if spec.datatype == "BYTES":
        return _from_length_prefixed(spec.name, shape, bytes(data))
    expected = math.prod(shape) * ELEMENT_BYTES[spec.datatype]
    if len(data) != expected:
        raise RequestError(
            400,
            f"input {spec.name!r} has {len(data)} bytes of data: {spec.datatype} {shape_text(shape)} needs {expected}",
        )
    if spec.datatype == "BOOL":  # any byte is a truth, but NumPy's bool must be 0 or 1
        truths: np.ndarray = np.frombuffer(data, np.uint8) != 0
        return truths.reshape(shape)  # in this order: a comparison makes a scalar of an array without dimensions
    return np.ndarray(shape, LITTLE_ENDIAN[spec.datatype], data)


def _from_length_prefixed(name: str, shape: Sequence[int], data: bytes) -> np.ndarray:
    elements: list[bytes] = []
    start, count = 0, math.prod(shape)
    while start + 4 <= len(data) and len(elements) < count:
        (length,) = struct.unpack_from("<I", data, start)
        if start + 4 + length > len(data):
            break
        elements.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    if start != len(data) or len(elements) != count:
        raise RequestError(
            400,
            f"input {name!r}: BYTES {shape_text(shape)} needs {count} elements, each its length in four bytes "
            f"and its content; found {len(elements)} in the first {start} of {len(data)} bytes",
        )
    return bytes_array(elements, shape)


def bytes_array(elements: Sequence[bytes], shape: Sequence[int]) -> np.ndarray:
    """An object array of `bytes`."""
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def to_bytes(array: np.ndarray, datatype: str) -> bytes:
    """A tensor's raw bytes, the reverse of `from_bytes`."""
    if datatype == "BYTES":
        elements = [as_bytes(element) for element in array.ravel()]
        return b"".join(struct.pack("<I", len(element)) + element for element in elements)
    return array.astype(LITTLE_ENDIAN[datatype], copy=False).tobytes()


def as_bytes(element: Any) -> bytes:
    """One element of a BYTES tensor, which a runtime may give as `str`."""
    return element if isinstance(element, bytes) else str(element).encode()
