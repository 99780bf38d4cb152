"""Requests of the Open Inference Protocol over REST: JSON, JSON with binary tensors behind it, and raw tensors.

`read_infer` goes three steps: `parse` reads the text, `check` holds it against the model's signature, `to_array` makes
the arrays.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import simdjson

from contract import TensorSpec
from serving.hosting.errors import RequestError
from serving.hosting.signature import Signature
from serving.hosting.tensors import bytes_array, from_bytes, shape_text
from serving.oip.json_data import parse_text, parse_text_in_pieces, read_data
from serving.oip.metadata import LONG_BYTES

HEAD_BYTES = 4096
"""A JSON with binary tensors behind it is rarely longer; a longer one is parsed as if it held the numbers."""
OUTPUTS_WORDS = "`outputs` must be a list of objects with a name"


@dataclass(slots=True)
class Wants:
    """What a request says beside its inputs."""

    outputs: dict[str, bool | None] = field(default_factory=dict)
    """The requested outputs in order, each with its own `binary_data` where given; empty means all."""
    id: str | None = None
    binary_output: bool = False
    """`binary_data_output`: what an output without a word of its own is sent as."""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """One inference request, checked against the model's signature."""

    inputs: dict[str, np.ndarray]
    wants: Wants


@dataclass(slots=True)
class Document:
    """A request as its bytes say it: plain Python values, but for the `data` of tensors."""

    fields: dict[str, Any]
    binary: memoryview
    """What lies behind the JSON."""
    is_raw: bool = False
    """Whether there is no JSON: the bytes are the one tensor."""


@dataclass(slots=True)
class InputTensor:
    """One tensor of a request that has the name, datatype and shape that the model expects."""

    spec: TensorSpec
    shape: list[int]
    data: Any
    """The bytes, where they lie behind the JSON, the value of `data`, or the array itself."""


def read_infer(body: bytes | memoryview, header_length: str | None, signature: Signature) -> InferRequest:
    """Read the body of an infer request; `header_length` is the value of Inference-Header-Content-Length."""
    document = parse(body, header_length)
    tensors, wants = check(document, signature)
    inputs = {tensor.spec.name: to_array(tensor) for tensor in tensors}
    signature.check_complete(inputs)
    return InferRequest(inputs, wants)


def parse(body: bytes | memoryview, header_length: str | None) -> Document:
    """Read the JSON; raises RequestError where it is none."""
    view = memoryview(body)
    if header_length is None:
        return _parse_fields(body, view[len(body) :])
    if not header_length.isascii() or not header_length.isdigit() or len(header_length) > 18:
        raise RequestError(400, f"Inference-Header-Content-Length must be a number of bytes, got: {header_length!r}")
    length = int(header_length)
    if length > len(body):
        raise RequestError(400, f"Inference-Header-Content-Length must be in the range (0, {len(body)}), got: {length}")
    if length == 0:
        return Document({}, view, is_raw=True)
    binary = view[length:]
    if length <= HEAD_BYTES:
        try:
            fields = orjson.loads(view[:length])
        except orjson.JSONDecodeError as error:
            raise RequestError(400, f"the request is not JSON: {error}") from None
        if isinstance(fields, dict) and not _has_data(fields):
            return Document(fields, binary)
    return _parse_fields(body[:length], binary)


def _has_data(fields: dict[str, Any]) -> bool:
    """Whether a tensor's numbers are in the JSON: they are better read by a parser that makes no Python numbers."""
    tensors = fields.get("inputs")
    return not isinstance(tensors, list) or any(not isinstance(t, dict) or "data" in t for t in tensors)


def _parse_fields(text: bytes | memoryview, binary: memoryview) -> Document:
    root, long_arrays = parse_text_in_pieces(text) if len(text) >= LONG_BYTES else (parse_text(text), {})
    if type(root) is not simdjson.Object:
        raise RequestError(400, "the request must be a JSON object")
    fields: dict[str, Any] = {key: root[key] if key == "inputs" else _plain(root[key]) for key in root}
    tensors = fields.get("inputs")
    if isinstance(tensors, simdjson.Array):
        fields["inputs"] = [_parse_tensor(tensor, long_arrays) for tensor in tensors]
    return Document(fields, binary)


def _parse_tensor(tensor: Any, long_arrays: dict[str, Any]) -> Any:
    if type(tensor) is not simdjson.Object:
        return tensor
    fields = {key: tensor[key] if key == "data" else _plain(tensor[key]) for key in tensor}
    if type(data := fields.get("data")) is str and data in long_arrays:
        fields["data"] = long_arrays[data]
    return fields


def _plain(value: Any) -> Any:
    if type(value) is simdjson.Object:
        return value.as_dict()
    return value.as_list() if type(value) is simdjson.Array else value


def check(document: Document, signature: Signature) -> tuple[list[InputTensor], Wants]:
    """Hold a request against the model's signature; raises RequestError."""
    if document.is_raw:
        return [_check_raw(document.binary, signature)], Wants(binary_output=True)
    described = document.fields.get("inputs")
    if type(described) is not list:
        raise RequestError(400, "the request must have `inputs`, a list of tensors")
    tensors: dict[str, InputTensor] = {}
    start = 0
    for fields in described:
        tensor, start = _check_tensor(fields, document.binary, start, signature)
        if tensor.spec.name in tensors:
            raise RequestError(400, f"input {tensor.spec.name!r} is given twice")
        tensors[tensor.spec.name] = tensor
    if start != len(document.binary):
        unused = len(document.binary) - start
        raise RequestError(400, f"unexpected additional input data: {unused} bytes after the last tensor")
    return list(tensors.values()), _check_wants(document.fields, signature)


def _check_tensor(fields: Any, binary: memoryview, start: int, signature: Signature) -> tuple[InputTensor, int]:
    """One tensor, and where the next one's bytes start."""
    if type(fields) is not dict:
        raise RequestError(400, "every element of `inputs` must be an object with name, shape, datatype and data")
    name, datatype, shape = fields.get("name"), fields.get("datatype"), fields.get("shape")
    if type(name) is not str:
        raise RequestError(400, "every input must have a `name`, a string")
    if type(datatype) is not str:
        raise RequestError(400, f"input {name!r} must have a `datatype`, a string such as FP32")
    if type(shape) is not list or not all([type(size) is int and size >= 0 for size in shape]):  # noqa: C419 - faster
        raise RequestError(400, f"input {name!r} must have a `shape`, a list of whole numbers")
    spec = signature.check_input(name, datatype, shape)
    size = _parameters(fields).get("binary_data_size")
    if size is None:
        return InputTensor(spec, shape, fields.get("data")), start
    if "data" in fields:
        raise RequestError(400, f"input {name!r} has both `data` and binary_data_size: give one of them")
    if type(size) is not int or size < 0:
        raise RequestError(400, f"input {name!r}: binary_data_size must be a number of bytes, got: {size!r}")
    end = start + size
    if end > len(binary):
        left = f"binary_data_size says {size} bytes, {len(binary) - start} are left"
        raise RequestError(400, f"unexpected size for input {name!r}: {left}")
    return InputTensor(spec, shape, binary[start:end]), end


def _check_raw(body: memoryview, signature: Signature) -> InputTensor:
    """One tensor and nothing else; the model has one input, of whose dimensions at most one (and the batch) is free."""
    if len(signature.inputs) != 1:
        raise RequestError(400, f"a raw request needs a model with one input, this one has {len(signature.inputs)}")
    spec = next(iter(signature.inputs.values()))
    if spec.datatype == "BYTES":
        shape = [1] * len(spec.shape)
        return InputTensor(spec, shape, bytes_array([bytes(body)], shape))
    shape = [1, *spec.shape[1:]] if signature.has_batch else list(spec.shape)
    if shape.count(-1) > 1:
        expected = f"an input with at most one free dimension: {shape_text(spec.shape)}"
        raise RequestError(400, f"a raw request needs {expected}")
    if -1 in shape:
        fixed = -math.prod(shape) * spec.dtype.itemsize
        shape[shape.index(-1)] = len(body) // max(fixed, 1)
    signature.check_input(spec.name, spec.datatype, shape)
    return InputTensor(spec, shape, body)


def _check_wants(fields: dict[str, Any], signature: Signature) -> Wants:
    """What a request may have beside its inputs."""
    wants = Wants(id=fields.get("id"))
    if wants.id is not None and type(wants.id) is not str:
        raise RequestError(400, "`id` must be a string")
    wants.parameters = _parameters(fields)
    wants.binary_output = _flag(wants.parameters.get("binary_data_output"), "binary_data_output") or False
    outputs = fields.get("outputs")
    if outputs is None:
        return wants
    if type(outputs) is not list:
        raise RequestError(400, OUTPUTS_WORDS)
    for output in outputs:
        if type(output) is not dict:
            raise RequestError(400, OUTPUTS_WORDS)
        name = signature.check_output(output.get("name"))
        wants.outputs[name] = _flag(_parameters(output).get("binary_data"), "binary_data")
    return wants


def _parameters(owner: dict[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise RequestError(400, "`parameters` must be an object")
    return parameters


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and type(value) is not bool:
        raise RequestError(400, f"the parameter {name} must be true or false, got: {value!r}")
    return value


def to_array(tensor: InputTensor) -> np.ndarray:
    """The array of a tensor; raises RequestError where its data don't make one."""
    if isinstance(tensor.data, memoryview):
        return from_bytes(tensor.spec, tensor.shape, tensor.data)
    if isinstance(tensor.data, np.ndarray):
        return tensor.data
    return read_data(tensor.spec, tensor.shape, tensor.data)
