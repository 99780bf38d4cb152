"""TensorProto to NumPy and back, with the tolerance and the refusals of `Tensor::FromProto`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.servers.tfserving.model.signatures import KIND_OF, KINDS, Kind
from serving.servers.tfserving.status import invalid

MAX_RANK = 64
"""NumPy's; the genuine server's is 254, with the same message."""
MAX_TENSOR_BYTES = 1 << 30
"""A shape may promise more than the message holds: the last value is repeated. That is bounded here."""
_PAIRS = {"complex64": np.float32, "complex128": np.float64}
_PACKED = {"float": b"\x2a", "double": b"\x32"}  # the tags of float_val and double_val, whose wire form is raw memory


def from_proto(proto: Any, alias: str) -> np.ndarray:
    """The tensor; fewer values than the shape wants repeat the last one, more are cut."""
    kind = KINDS.get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if kind is None or proto.tensor_shape.unknown_rank or len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise invalid(f"tensor parsing error: {alias}")
    count = math.prod(shape)
    if math.prod(size or 1 for size in shape) * kind.dtype.itemsize > MAX_TENSOR_BYTES:
        raise invalid(f"tensor parsing error: {alias}")
    content = proto.tensor_content
    if not content:
        return _repeat_last(_values(proto, kind), count, kind).reshape(shape)
    if kind.name == "string" or len(content) != count * kind.dtype.itemsize:
        raise invalid(f"tensor parsing error: {alias}")
    return np.frombuffer(content, kind.dtype).reshape(shape)


def to_proto(array: np.ndarray, proto: Any, as_content: bool = False) -> None:
    """Fill a TensorProto, with typed values or, where wanted and possible, with the raw memory."""
    kind = KIND_OF[array.dtype]
    proto.dtype = kind.enum
    proto.tensor_shape.SetInParent()  # a scalar's is there too, without dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if as_content and kind.name != "string":
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
        return
    if kind.name in _PACKED:
        if array.size:
            raw = np.ascontiguousarray(array).tobytes()
            proto.MergeFromString(_PACKED[kind.name] + _varint(len(raw)) + raw)
        return
    getattr(proto, kind.field).extend(_flat_values(array, kind))


def _values(proto: Any, kind: Kind) -> np.ndarray:
    values: Sequence[Any] = getattr(proto, kind.field)
    if kind.name == "string":
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if kind.field == "half_val":
        return np.array(values, np.int64).astype(np.uint16).view(kind.dtype)
    if kind.name in _PAIRS:
        return np.array(values[: len(values) // 2 * 2], _PAIRS[kind.name]).view(kind.dtype)
    if kind.field == "int_val":
        return np.array(values, np.int64).astype(kind.dtype)
    return np.array(values, kind.dtype)


def _repeat_last(values: np.ndarray, count: int, kind: Kind) -> np.ndarray:
    if len(values) >= count:
        return values[:count]
    default = b"" if kind.name == "string" else kind.dtype.type(0)
    filler = values[-1] if len(values) else default
    filled = np.empty(count, kind.dtype)
    filled[: len(values)] = values
    filled[len(values) :] = filler
    return filled


def _flat_values(array: np.ndarray, kind: Kind) -> list[Any]:
    flat = np.ascontiguousarray(array).ravel()
    if kind.field == "half_val":
        flat = flat.view(np.uint16)
    elif kind.name in _PAIRS:
        flat = flat.view(_PAIRS[kind.name])
    values: list[Any] = flat.tolist()
    return values


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
