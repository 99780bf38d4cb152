"""Requests of the Open Inference Protocol over REST: JSON, JSON with binary tensors behind it, and raw tensors.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simdjson

from contract import TensorSpec
from serving.hosting.signature import Refusal, Signature, bytes_array, from_bytes, shown
from serving.oip.json_data import read_data

SMALL_BYTES = 2**20
"""A parser keeps the memory of the largest text that it has seen; larger ones get a parser of their own."""
NO_PARAMETERS: dict[str, Any] = {}
LAYOUTS = 256
LAYOUT_BYTES = 2048
"""How many texts before binary tensors are remembered per model, and the longest that is."""


@dataclass(slots=True)
class InferRequest:
    """One inference request, checked against the model's signature."""

    inputs: dict[str, np.ndarray]
    wants: Wants


@dataclass(slots=True)
class Wants:
    """What a request says beside its inputs."""

    outputs: dict[str, bool | None] = field(default_factory=dict)
    """The requested outputs in order, each with its own `binary_data` where given; empty means all."""
    id: str | None = None
    binary_output: bool = False
    """`binary_data_output`: what an output without a word of its own is sent as."""
    parameters: dict[str, Any] = field(default_factory=dict)
    heads: dict[tuple[tuple[int, ...], ...], bytes] | None = None
    """The JSON of answers to such requests by the shapes of the outputs, where it can be used again."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the JSON of a request says whose tensors all lie behind it. The same text always says the same."""

    tensors: tuple[tuple[TensorSpec, list[int], int], ...]
    """Spec, shape and bytes, in order."""
    wants: Wants


class _Parser:
    """The process's one parser."""

    parser = simdjson.Parser()

    @classmethod
    def parse(cls, text: bytes | memoryview) -> Any:
        parser = cls.parser if len(text) < SMALL_BYTES else simdjson.Parser()
        try:
            try:
                return parser.parse(text)
            except RuntimeError as error:
                if "re-use" not in str(error):  # BIGINT_ERROR and its like
                    raise
                cls.parser = simdjson.Parser()  # an error's traceback still holds parts of the last text
                return cls.parser.parse(text)
        except (ValueError, RuntimeError, UnicodeDecodeError) as error:
            raise Refusal(400, f"the request is not JSON: {str(error).partition('.')[0]}") from None


def parse_infer(body: bytes, header_length: str | None, signature: Signature) -> InferRequest:
    """Read the body of an infer request; `header_length` is the value of Inference-Header-Content-Length."""
    if header_length is None:
        return _read(_Parser.parse(body), b"", signature)[0]
    if not header_length.isascii() or not header_length.isdigit() or len(header_length) > 18:
        raise Refusal(400, f"Inference-Header-Content-Length must be a number of bytes, got: {header_length!r}")
    length = int(header_length)
    if length > len(body):
        raise Refusal(400, f"Inference-Header-Content-Length must be in the range (0, {len(body)}), got: {length}")
    if length == 0:
        return _read_raw(body, signature)
    text = body[:length]
    layout: Layout | None = signature.layouts.get(text)
    binary = memoryview(body)[length:]
    if layout is not None:
        return InferRequest(_cut(layout, binary, signature), layout.wants)
    request, layout = _read(_Parser.parse(text), binary, signature)
    if layout is not None and length < LAYOUT_BYTES:
        if len(signature.layouts) >= LAYOUTS:
            signature.layouts.clear()
        signature.layouts[text] = layout
    return request


def _cut(layout: Layout, binary: memoryview, signature: Signature) -> dict[str, np.ndarray]:
    """The tensors behind a JSON that has been read before."""
    inputs: dict[str, np.ndarray] = {}
    start = 0
    for spec, shape, size in layout.tensors:
        inputs[spec.name] = _read_binary(spec, shape, size, binary, start)
        start += size
    _check_used(binary, start)
    signature.check_complete(inputs)
    return inputs


def _check_used(binary: bytes | memoryview, used: int) -> None:
    if used != len(binary):
        raise Refusal(400, f"unexpected additional input data: {len(binary) - used} bytes after the last tensor")


def _read_raw(body: bytes, signature: Signature) -> InferRequest:
    """One tensor and nothing else; the model has one input, of whose dimensions at most one (and the batch) is free."""
    if len(signature.inputs) != 1:
        raise Refusal(400, f"a raw request needs a model with one input, this one has {len(signature.inputs)}")
    spec = next(iter(signature.inputs.values()))
    if spec.datatype == "BYTES":
        array = bytes_array([body], [1] * len(spec.shape))
        return InferRequest({spec.name: array}, Wants(binary_output=True))
    shape = [1, *spec.shape[1:]] if signature.has_batch else list(spec.shape)
    if shape.count(-1) > 1:
        raise Refusal(400, f"a raw request needs an input with at most one free dimension: {shown(spec.shape)}")
    if -1 in shape:
        fixed = -math.prod(shape) * spec.dtype.itemsize
        shape[shape.index(-1)] = len(body) // max(fixed, 1)
    signature.input(spec.name, spec.datatype, shape)
    return InferRequest({spec.name: from_bytes(spec, shape, body)}, Wants(binary_output=True))


def _read(root: Any, binary: bytes | memoryview, signature: Signature) -> tuple[InferRequest, Layout | None]:
    """A request, and its layout where all its tensors are binary."""
    if type(root) is not simdjson.Object:
        raise Refusal(400, "the request must be a JSON object")
    fields = _fields(root)
    tensors = fields.get("inputs")
    if type(tensors) is not simdjson.Array:
        raise Refusal(400, "the request must have `inputs`, a list of tensors")
    inputs: dict[str, np.ndarray] = {}
    cuts: list[tuple[TensorSpec, list[int], int]] = []
    start = 0
    for tensor in tensors:
        if type(tensor) is not simdjson.Object:
            raise Refusal(400, "every element of `inputs` must be an object with name, shape, datatype and data")
        described = _fields(tensor)
        spec, shape = _read_spec(described, signature)
        if spec.name in inputs:
            raise Refusal(400, f"input {spec.name!r} is given twice")
        size = _parameters(described).get("binary_data_size")
        if size is None:
            inputs[spec.name] = read_data(spec, shape, described.get("data"))
        else:
            if "data" in described:
                raise Refusal(400, f"input {spec.name!r} has both `data` and binary_data_size: give one of them")
            inputs[spec.name] = _read_binary(spec, shape, size, binary, start)
            cuts.append((spec, shape, size))
            start += size
    _check_used(binary, start)
    signature.check_complete(inputs)
    request = InferRequest(inputs, _read_wants(fields, signature))
    if len(cuts) < len(inputs):
        return request, None
    request.wants.heads = {}
    return request, Layout(tuple(cuts), request.wants)


def _fields(owner: Any) -> dict[str, Any]:
    """The members of an object; asking simdjson for one that is missing would cost it a C++ exception."""
    return {key: owner[key] for key in owner}


def _read_spec(tensor: dict[str, Any], signature: Signature) -> tuple[TensorSpec, list[int]]:
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str:
        raise Refusal(400, "every input must have a `name`, a string")
    if type(datatype) is not str:
        raise Refusal(400, f"input {name!r} must have a `datatype`, a string such as FP32")
    dims: Any = shape.as_list() if type(shape) is simdjson.Array else None
    if dims is None or not all(type(dim) is int and dim >= 0 for dim in dims):
        raise Refusal(400, f"input {name!r} must have a `shape`, a list of whole numbers")
    return signature.input(name, datatype, dims), dims


def _parameters(owner: dict[str, Any]) -> dict[str, Any]:
    found = owner.get("parameters")
    if found is None:
        return NO_PARAMETERS
    if type(found) is not simdjson.Object:
        raise Refusal(400, "`parameters` must be an object")
    parameters: dict[str, Any] = found.as_dict()
    return parameters


def _read_binary(
    spec: TensorSpec, shape: Sequence[int], size: Any, binary: bytes | memoryview, start: int
) -> np.ndarray:
    if type(size) is not int or size < 0:
        raise Refusal(400, f"input {spec.name!r}: binary_data_size must be a number of bytes, got: {size!r}")
    if start + size > len(binary):
        raise Refusal(
            400,
            f"unexpected size for input {spec.name!r}: binary_data_size says {size} bytes, "
            f"{len(binary) - start} are left",
        )
    return from_bytes(spec, shape, binary[start : start + size])


def _read_wants(fields: dict[str, Any], signature: Signature) -> Wants:
    """What a request may have beside its inputs."""
    wants = Wants(id=fields.get("id"))
    if wants.id is not None and type(wants.id) is not str:
        raise Refusal(400, "`id` must be a string")
    wants.parameters = _parameters(fields)
    wants.binary_output = _flag(wants.parameters.get("binary_data_output"), "binary_data_output") or False
    outputs = fields.get("outputs")
    if outputs is None:
        return wants
    if type(outputs) is not simdjson.Array:
        raise Refusal(400, "`outputs` must be a list of objects with a name")
    for output in outputs:
        if type(output) is not simdjson.Object:
            raise Refusal(400, "`outputs` must be a list of objects with a name")
        described = _fields(output)
        name = signature.output(described.get("name"))
        wants.outputs[name] = _flag(_parameters(described).get("binary_data"), "binary_data")
    return wants


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and type(value) is not bool:
        raise Refusal(400, f"the parameter {name} must be true or false, got: {value!r}")
    return value
