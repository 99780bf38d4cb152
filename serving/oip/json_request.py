"""Requests of the Open Inference Protocol over REST: JSON, JSON with binary tensors behind it, and raw tensors.

`read_infer` goes three steps: `parse` reads the text, `read_tensors` makes the arrays that the model's signature asks
for, `read_wants` reads what is to be answered. Each is one pass, for that is most of what a small request costs.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import simdjson

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


def read_infer(body: bytes | memoryview, header_length: str | None, signature: Signature) -> InferRequest:
    """Read the body of an infer request; `header_length` is the value of Inference-Header-Content-Length."""
    document = parse(body, header_length)
    if document.is_raw:
        inputs, wants = read_raw(document.binary, signature), Wants(binary_output=True)
    else:
        inputs, wants = read_tensors(document, signature), read_wants(document.fields, signature)
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
    if type(tensors) is not list:
        return True
    for tensor in tensors:  # noqa: SIM110 - twice as fast as any()
        if type(tensor) is not dict or "data" in tensor:
            return True
    return False


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


def read_tensors(document: Document, signature: Signature) -> dict[str, np.ndarray]:
    """The arrays of a request, checked against the model's signature; raises RequestError."""
    described, binary = document.fields.get("inputs"), document.binary
    if type(described) is not list:
        raise RequestError(400, "the request must have `inputs`, a list of tensors")
    inputs: dict[str, np.ndarray] = {}
    start = 0
    for fields in described:
        if type(fields) is not dict:
            raise RequestError(400, "every element of `inputs` must be an object with name, shape, datatype and data")
        shape: Any = fields.get("shape")
        name, datatype = fields.get("name"), fields.get("datatype")
        if type(name) is not str or type(datatype) is not str or not is_shape(shape):
            raise _not_described(name, datatype)
        spec = signature.check_input(name, datatype, shape)
        if name in inputs:
            raise RequestError(400, f"input {name!r} is given twice")
        parameters = fields.get("parameters")
        size = _parameters(fields).get("binary_data_size") if parameters is not None else None
        if size is None:
            inputs[name] = read_data(spec, shape, fields.get("data"))
            continue
        if type(size) is not int or size < 0 or start + size > len(binary) or "data" in fields:
            raise _not_cut(name, size, len(binary) - start, "data" in fields)
        inputs[name] = from_bytes(spec, shape, binary[start : start + size])
        start += size
    if start != len(binary):
        unused = len(binary) - start
        raise RequestError(400, f"unexpected additional input data: {unused} bytes after the last tensor")
    return inputs


def is_shape(shape: Any) -> bool:
    """Whether a value is a list of whole numbers."""
    if type(shape) is not list:
        return False
    for size in shape:  # noqa: SIM110 - twice as fast as all()
        if type(size) is not int or size < 0:
            return False
    return True


def _not_described(name: Any, datatype: Any) -> RequestError:
    """What is wrong with the description of a tensor."""
    if type(name) is not str:
        return RequestError(400, "every input must have a `name`, a string")
    if type(datatype) is not str:
        return RequestError(400, f"input {name!r} must have a `datatype`, a string such as FP32")
    return RequestError(400, f"input {name!r} must have a `shape`, a list of whole numbers")


def _not_cut(name: str, size: Any, left: int, has_data: bool) -> RequestError:
    """What is wrong with the size of a binary tensor."""
    if has_data:
        return RequestError(400, f"input {name!r} has both `data` and binary_data_size: give one of them")
    if type(size) is not int or size < 0:
        return RequestError(400, f"input {name!r}: binary_data_size must be a number of bytes, got: {size!r}")
    return RequestError(400, f"unexpected size for input {name!r}: binary_data_size says {size} bytes, {left} are left")


def read_raw(body: memoryview, signature: Signature) -> dict[str, np.ndarray]:
    """One tensor and nothing else; the model has one input, of whose dimensions at most one (and the batch) is free."""
    if len(signature.inputs) != 1:
        raise RequestError(400, f"a raw request needs a model with one input, this one has {len(signature.inputs)}")
    spec = next(iter(signature.inputs.values()))
    if spec.datatype == "BYTES":
        return {spec.name: bytes_array([bytes(body)], [1] * len(spec.shape))}
    shape = [1, *spec.shape[1:]] if signature.has_batch else list(spec.shape)
    if shape.count(-1) > 1:
        expected = f"an input with at most one free dimension: {shape_text(spec.shape)}"
        raise RequestError(400, f"a raw request needs {expected}")
    if -1 in shape:
        fixed = -math.prod(shape) * spec.dtype.itemsize
        shape[shape.index(-1)] = len(body) // max(fixed, 1)
    signature.check_input(spec.name, spec.datatype, shape)
    return {spec.name: from_bytes(spec, shape, body)}


def read_wants(fields: dict[str, Any], signature: Signature) -> Wants:
    """What a request may have beside its inputs; raises RequestError."""
    request_id, parameters, outputs = fields.get("id"), fields.get("parameters"), fields.get("outputs")
    if request_id is not None and type(request_id) is not str:
        raise RequestError(400, "`id` must be a string")
    is_binary = None
    if parameters is None:
        parameters = {}
    else:
        is_binary = _flag(_parameters(fields).get("binary_data_output"), "binary_data_output")
    wants = Wants({}, request_id, is_binary or False, parameters)
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
