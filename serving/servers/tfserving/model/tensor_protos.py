"""TensorProto to NumPy and back, with the tolerance and the refusals of `Tensor::FromProto`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.protos import message
from serving.protos.encoded_fields import LENGTH_DELIMITED, fields, read_varints, varint
from serving.servers.tfserving.model.signatures import KIND_OF, KINDS, Kind
from serving.servers.tfserving.status import invalid

MAX_RANK = 64
"""NumPy's; the genuine server's is 254, with the same message."""
MAX_TENSOR_BYTES = 1 << 30
"""A shape may promise more than the message holds: the last value is repeated. That is bounded here."""
_PAIRS = {"complex64": np.float32, "complex128": np.float64}
_FIXED = {"float_val": "<f4", "double_val": "<f8", "scomplex_val": "<f4", "dcomplex_val": "<f8"}
TENSOR_CONTENT = 4
FIELD_NUMBERS = {
    "float_val": 5, "double_val": 6, "int_val": 7, "string_val": 8, "scomplex_val": 9, "int64_val": 10, "bool_val": 11,
    "dcomplex_val": 12, "half_val": 13, "uint32_val": 16, "uint64_val": 17,
}  # fmt: skip
"""tensorflow/core/framework/tensor.proto."""
_MESSAGE = message("tensorflow.serving.TensorProto")
_PACKED = {"float": b"\x2a", "double": b"\x32"}  # the tags of float_val and double_val, whose wire form is raw memory


def from_proto(proto: Any, alias: str) -> np.ndarray:
    """The tensor; fewer values than the shape wants repeat the last one, more are cut."""
    return _tensor(proto, proto.tensor_content, partial(_values, proto), alias)


def from_encoded(tensor: memoryview, alias: str) -> np.ndarray:
    """The same from an encoded TensorProto, whose content and packed values stay where they are."""
    head: list[memoryview] = []
    packed: dict[int, list[memoryview]] = {}
    try:
        for field in fields(tensor):
            if field.number not in (TENSOR_CONTENT, *FIELD_NUMBERS.values()):
                head.append(field.whole)
            elif field.kind == LENGTH_DELIMITED:
                packed.setdefault(field.number, []).append(field.content)
            else:  # a number of its own, as only hand-made clients write them
                return from_proto(_MESSAGE.FromString(tensor), alias)
        proto = _MESSAGE.FromString(b"".join(head))
        content = packed.get(TENSOR_CONTENT, [memoryview(b"")])[-1]
        return _tensor(proto, content, partial(_packed_values, packed), alias)
    except (DecodeError, ValueError):
        raise invalid(f"tensor parsing error: {alias}") from None


def _tensor(proto: Any, content: bytes | memoryview, values: Callable[[Kind], np.ndarray], alias: str) -> np.ndarray:
    kind = KINDS.get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if kind is None or proto.tensor_shape.unknown_rank or len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise invalid(f"tensor parsing error: {alias}")
    count = math.prod(shape)
    if math.prod(size or 1 for size in shape) * kind.dtype.itemsize > MAX_TENSOR_BYTES:
        raise invalid(f"tensor parsing error: {alias}")
    if not content:
        return _repeat_last(values(kind), count, kind).reshape(shape)
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
            proto.MergeFromString(_PACKED[kind.name] + varint(len(raw)) + raw)
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


def _packed_values(packed: dict[int, list[memoryview]], kind: Kind) -> np.ndarray:
    """The values in the encoded fields of a TensorProto."""
    contents = packed.get(FIELD_NUMBERS[kind.field], [])
    if kind.name == "string":
        strings = np.empty(len(contents), object)
        for index, content in enumerate(contents):
            strings[index] = bytes(content)
        return strings
    if kind.field in _FIXED:
        arrays = [np.frombuffer(content, _FIXED[kind.field]) for content in contents]
    else:
        arrays = [read_varints(content).view(np.int64) for content in contents]
    values = arrays[0] if len(arrays) == 1 else np.concatenate(arrays) if arrays else np.empty(0, np.int64)
    if kind.field == "half_val":
        return values.astype(np.uint16).view(kind.dtype)
    if kind.name in _PAIRS:
        return values[: len(values) // 2 * 2].view(kind.dtype)
    return values.astype(kind.dtype, copy=False)


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
