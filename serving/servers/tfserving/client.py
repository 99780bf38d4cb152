"""A client of TensorFlow Serving that needs no TensorFlow: tensors to JSON rows or `PredictRequest`, and back."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contract import Tensors, TensorSpec
from serving.protos import message

DT_STRING = 7
# tensorflow/core/framework/types.proto: the enum's number, and the field of TensorProto that holds such values
TYPES: dict[str, tuple[int, str]] = {
    "FP32": (1, "float_val"),
    "FP64": (2, "double_val"),
    "INT32": (3, "int_val"),
    "UINT8": (4, "int_val"),
    "INT16": (5, "int_val"),
    "INT8": (6, "int_val"),
    "BYTES": (DT_STRING, "string_val"),
    "INT64": (9, "int64_val"),
    "BOOL": (10, "bool_val"),
    "UINT16": (17, "int_val"),
    "FP16": (19, "half_val"),
    "UINT32": (22, "uint32_val"),
    "UINT64": (23, "uint64_val"),
}


def rows_of(specs: Sequence[TensorSpec], inputs: Tensors) -> Any:
    """The `instances` of the row format: the values of a single input, or one object a row."""
    values = {spec.name: _json_values(inputs[spec.name], spec) for spec in specs}
    if len(specs) == 1:
        return values[specs[0].name]
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def tensors_of(specs: Sequence[TensorSpec], rows: list[Any]) -> dict[str, np.ndarray]:
    """The outputs in the `predictions` of the row format."""
    if len(specs) == 1:
        return {specs[0].name: _array(rows, specs[0])}
    return {spec.name: _array([row[spec.name] for row in rows], spec) for spec in specs}


def predict_request(model: str, specs: Sequence[TensorSpec], inputs: Tensors) -> bytes:
    """A serialized `tensorflow.serving.PredictRequest` for the newest version and the default signature."""
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = model
    for spec in specs:
        array = np.ascontiguousarray(inputs[spec.name]) if spec.datatype == "BYTES" else None
        if array is None:
            array = np.ascontiguousarray(inputs[spec.name], spec.dtype)
        tensor = request.inputs[spec.name]
        tensor.dtype = TYPES[spec.datatype][0]
        tensor.tensor_shape.SetInParent()  # a scalar's is there too, without dimensions
        for size in array.shape:
            tensor.tensor_shape.dim.add().size = size
        if tensor.dtype == DT_STRING:
            tensor.string_val.extend(array.ravel().tolist())
        else:
            tensor.tensor_content = array.tobytes()
    encoded: bytes = request.SerializeToString()
    return encoded


def predict_response(specs: Sequence[TensorSpec], body: bytes) -> dict[str, np.ndarray]:
    """The outputs in a serialized `tensorflow.serving.PredictResponse`; raises ValueError where it is none."""
    from google.protobuf.message import DecodeError

    try:
        outputs = message("tensorflow.serving.PredictResponse").FromString(body).outputs
    except DecodeError as error:
        raise ValueError(f"no PredictResponse: {error}") from None
    return {spec.name: _from_proto(outputs[spec.name], spec) for spec in specs if spec.name in outputs}


def _json_values(array: np.ndarray, spec: TensorSpec) -> Any:
    if spec.datatype != "BYTES":
        return np.ascontiguousarray(array, spec.dtype)
    encoded = [{"b64": base64.b64encode(value).decode()} for value in array.ravel()]
    for size in reversed(array.shape[1:]):
        encoded = [encoded[start : start + size] for start in range(0, len(encoded), size)]  # type: ignore[misc]
    return encoded


def _array(values: Any, spec: TensorSpec) -> np.ndarray:
    if spec.datatype != "BYTES":
        return np.array(values, spec.dtype)
    flat = np.array(values, object)
    decoded = [base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() for v in flat.ravel()]
    array = np.empty(flat.size, object)
    array[:] = decoded
    return array.reshape(flat.shape)


def _from_proto(tensor: Any, spec: TensorSpec) -> np.ndarray:
    enum, field = TYPES[spec.datatype]
    if tensor.dtype != enum:
        raise ValueError(f"output {spec.name} has type {tensor.dtype}, its manifest says {enum} ({spec.datatype})")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, spec.dtype).reshape(shape)
    values = getattr(tensor, field)
    if spec.datatype == "FP16":
        return np.array(values, np.uint16).view(np.float16).reshape(shape)
    array = np.array(values, spec.dtype)
    if len(array) == 1 and math.prod(shape) > 1:  # a constant tensor is sent as one value
        return np.full(shape, array[0])
    return array.reshape(shape)
