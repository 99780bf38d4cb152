"""Tensors in the gRPC form of the Open Inference Protocol: raw bytes or typed contents, never both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from contract import TensorSpec
from serving.hosting.signature import Refusal, bytes_array, from_bytes, shown

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents for each datatype; FP16 has none and goes raw."""


def read_input(spec: TensorSpec, tensor: Any, raw: bytes | None) -> np.ndarray:
    """The array of an InferInputTensor whose name, datatype and shape have been checked."""
    shape = list(tensor.shape)
    if raw is not None:
        if tensor.HasField("contents"):
            raise Refusal(400, f"input {spec.name!r} has contents though raw_input_contents is used: only one may be")
        return from_bytes(spec, shape, raw)
    field = CONTENTS.get(spec.datatype)
    if field is None:
        raise Refusal(400, f"input {spec.name!r}: {spec.datatype} has no typed contents: use raw_input_contents")
    elements = getattr(tensor.contents, field)
    if len(elements) != math.prod(shape):
        other = next((name for name in sorted(set(CONTENTS.values())) if getattr(tensor.contents, name)), None)
        got = f"{len(elements)}, and {other} is set" if other not in (None, field) else str(len(elements))
        raise Refusal(
            400, f"input {spec.name!r}: {spec.datatype} {shown(shape)} needs {math.prod(shape)} {field}, got {got}"
        )
    if spec.datatype == "BYTES":
        return bytes_array(elements, shape)
    return _typed(spec, elements).reshape(shape)


def _typed(spec: TensorSpec, elements: Any) -> np.ndarray:
    array = np.array(elements)
    if spec.dtype.kind in "iu":
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise Refusal(400, f"input {spec.name!r} has elements that {spec.datatype} can't hold")
    return array.astype(spec.dtype, copy=False)
