"""What a SavedModel can be asked: its signatures, and the types of their tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

DEFAULT = "serving_default"


@dataclass(frozen=True, slots=True)
class Kind:
    """A TensorFlow type: its name in messages, the NumPy type, and the field of TensorProto that holds such values."""

    enum: int
    name: str
    dtype: np.dtype[Any]
    field: str
    json: tuple[int, int] | None = None
    """For integers the range that a JSON number has to be in; others None."""


_INT32 = (-(2**31), 2**31 - 1)
_ALL = (
    Kind(1, "float", np.dtype(np.float32), "float_val"),
    Kind(2, "double", np.dtype(np.float64), "double_val"),
    Kind(3, "int32", np.dtype(np.int32), "int_val", _INT32),
    Kind(4, "uint8", np.dtype(np.uint8), "int_val", _INT32),  # checked as int32, then wrapped, as the genuine one does
    Kind(5, "int16", np.dtype(np.int16), "int_val", _INT32),
    Kind(6, "int8", np.dtype(np.int8), "int_val", _INT32),
    Kind(7, "string", np.dtype(np.object_), "string_val"),
    Kind(8, "complex64", np.dtype(np.complex64), "scomplex_val"),
    Kind(9, "int64", np.dtype(np.int64), "int64_val", (-(2**63), 2**63 - 1)),
    Kind(10, "bool", np.dtype(np.bool_), "bool_val"),
    Kind(14, "bfloat16", np.dtype(ml_dtypes.bfloat16), "half_val"),
    Kind(17, "uint16", np.dtype(np.uint16), "int_val"),
    Kind(18, "complex128", np.dtype(np.complex128), "dcomplex_val"),
    Kind(19, "half", np.dtype(np.float16), "half_val"),
    Kind(22, "uint32", np.dtype(np.uint32), "uint32_val", (0, 2**32 - 1)),
    Kind(23, "uint64", np.dtype(np.uint64), "uint64_val", (0, 2**64 - 1)),
)
KINDS = {kind.enum: kind for kind in _ALL}
KIND_OF = {kind.dtype: kind for kind in _ALL}


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a signature: its alias, the tensor of the graph, type and declared shape."""

    alias: str
    tensor: str
    kind: Kind | None
    """None for a type that can't be exchanged, such as DT_INVALID or DT_RESOURCE."""
    shape: tuple[int, ...] | None
    """-1 for a free dimension; None where the rank is unknown."""

    def admits(self, array: np.ndarray) -> bool:
        """Whether the array has the declared type and shape."""
        if self.kind is None or self.shape is None or array.dtype != self.kind.dtype or array.ndim != len(self.shape):
            return False
        return all(wanted in (-1, size) for wanted, size in zip(self.shape, array.shape, strict=True))


@dataclass(frozen=True)
class Signature:
    """A signature of a loaded model, its inputs and outputs sorted by alias."""

    name: str
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    method: str
    proto: Any = field(repr=False)
    """The SignatureDef, for metadata and messages."""


def read_signature(name: str, proto: Any) -> Signature:
    """A signature from its SignatureDef."""
    inputs = {alias: _port(alias, proto.inputs[alias]) for alias in sorted(proto.inputs)}
    outputs = {alias: _port(alias, proto.outputs[alias]) for alias in sorted(proto.outputs)}
    return Signature(name, inputs, outputs, proto.method_name, proto)


def _port(alias: str, info: Any) -> Port:
    unknown = info.tensor_shape.unknown_rank
    shape = None if unknown else tuple(dim.size for dim in info.tensor_shape.dim)
    return Port(alias, info.name, KINDS.get(info.dtype), shape)
