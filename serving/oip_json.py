"""The Open Inference Protocol's REST bodies: JSON, JSON with binary tensors behind it, and raw tensors.

Numbers go from the text straight into an array (simdjson's buffers), never through Python floats.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import simdjson

from contract import TensorSpec
from serving.oip import Refusal, Signature, as_bytes, bytes_array, from_bytes, shown, to_bytes

SMALL_BYTES = 2**20
"""A parser keeps the memory of the largest text that it has seen; larger ones get a parser of their own."""
NO_PARAMETERS: dict[str, Any] = {}


@dataclass(slots=True)
class InferRequest:
    """One inference request, checked against the model's signature."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool | None]
    """The requested outputs in order, each with its own `binary_data` where given; empty means all."""
    id: str | None = None
    binary_output: bool = False
    """`binary_data_output`: what an output without a word of its own is sent as."""
    parameters: dict[str, Any] = field(default_factory=dict)


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
        return _read(_Parser.parse(body), b"", signature)
    if not header_length.isascii() or not header_length.isdigit() or len(header_length) > 18:
        raise Refusal(400, f"Inference-Header-Content-Length must be a number of bytes, got: {header_length!r}")
    length = int(header_length)
    if length > len(body):
        raise Refusal(400, f"Inference-Header-Content-Length must be in the range (0, {len(body)}), got: {length}")
    if length == 0:
        return _read_raw(body, signature)
    view = memoryview(body)
    return _read(_Parser.parse(view[:length]), view[length:], signature)


def _read_raw(body: bytes, signature: Signature) -> InferRequest:
    """One tensor and nothing else; the model has one input, of whose dimensions at most one (and the batch) is free."""
    if len(signature.inputs) != 1:
        raise Refusal(400, f"a raw request needs a model with one input, this one has {len(signature.inputs)}")
    spec = next(iter(signature.inputs.values()))
    if spec.datatype == "BYTES":
        array = bytes_array([body], [1] * len(spec.shape))
        return InferRequest({spec.name: array}, {}, binary_output=True)
    shape = [1, *spec.shape[1:]] if signature.batches else list(spec.shape)
    if shape.count(-1) > 1:
        raise Refusal(400, f"a raw request needs an input with at most one free dimension: {shown(spec.shape)}")
    if -1 in shape:
        fixed = -math.prod(shape) * spec.dtype.itemsize
        shape[shape.index(-1)] = len(body) // max(fixed, 1)
    signature.input(spec.name, spec.datatype, shape)
    return InferRequest({spec.name: from_bytes(spec, shape, body)}, {}, binary_output=True)


def _read(root: Any, binary: bytes | memoryview, signature: Signature) -> InferRequest:
    if type(root) is not simdjson.Object:
        raise Refusal(400, "the request must be a JSON object")
    tensors = root.get("inputs")
    if type(tensors) is not simdjson.Array:
        raise Refusal(400, "the request must have `inputs`, a list of tensors")
    inputs: dict[str, np.ndarray] = {}
    start = 0
    for tensor in tensors:
        if type(tensor) is not simdjson.Object:
            raise Refusal(400, "every element of `inputs` must be an object with name, shape, datatype and data")
        spec, shape = _read_spec(tensor, signature)
        if spec.name in inputs:
            raise Refusal(400, f"input {spec.name!r} is given twice")
        size = _parameters(tensor).get("binary_data_size")
        if size is None:
            inputs[spec.name] = _read_data(spec, shape, tensor.get("data"))
        else:
            inputs[spec.name] = _read_binary(spec, shape, size, binary, start)
            start += size
    if start != len(binary):
        raise Refusal(400, f"unexpected additional input data: {len(binary) - start} bytes after the last tensor")
    signature.check_complete(inputs)
    return _read_rest(root, inputs, signature)


def _read_spec(tensor: Any, signature: Signature) -> tuple[TensorSpec, list[int]]:
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str:
        raise Refusal(400, "every input must have a `name`, a string")
    if type(datatype) is not str:
        raise Refusal(400, f"input {name!r} must have a `datatype`, a string such as FP32")
    dims: Any = shape.as_list() if type(shape) is simdjson.Array else None
    if dims is None or not all(type(dim) is int and dim >= 0 for dim in dims):
        raise Refusal(400, f"input {name!r} must have a `shape`, a list of whole numbers")
    return signature.input(name, datatype, dims), dims


def _parameters(owner: Any) -> dict[str, Any]:
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


def _read_data(spec: TensorSpec, shape: list[int], data: Any) -> np.ndarray:
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


def _read_rest(root: Any, inputs: dict[str, np.ndarray], signature: Signature) -> InferRequest:
    """What a request may have beside its inputs."""
    request = InferRequest(inputs, {})
    identity = root.get("id")
    if identity is not None and type(identity) is not str:
        raise Refusal(400, "`id` must be a string")
    request.id = identity
    request.parameters = _parameters(root)
    request.binary_output = _flag(request.parameters.get("binary_data_output"), "binary_data_output") or False
    wanted = root.get("outputs")
    if wanted is not None:
        if type(wanted) is not simdjson.Array:
            raise Refusal(400, "`outputs` must be a list of objects with a name")
        for output in wanted:
            if type(output) is not simdjson.Object:
                raise Refusal(400, "`outputs` must be a list of objects with a name")
            name = signature.output(output.get("name"))
            request.outputs[name] = _flag(_parameters(output).get("binary_data"), "binary_data")
    return request


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and type(value) is not bool:
        raise Refusal(400, f"the parameter {name} must be true or false, got: {value!r}")
    return value


def encode_answer(
    head: Mapping[str, Any], outputs: Mapping[str, np.ndarray], request: InferRequest, signature: Signature
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where tensors follow; `head` is all but the outputs."""
    described: list[dict[str, Any]] = []
    tails: list[bytes] = []
    default = request.binary_output
    for name in request.outputs or signature.outputs:
        array, datatype = outputs[name], signature.outputs[name].datatype
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        own = request.outputs.get(name)
        if default if own is None else own:
            tail = to_bytes(array, datatype)
            entry["parameters"] = {"binary_data_size": len(tail)}
            tails.append(tail)
        else:
            entry["data"] = _listable(name, array, datatype)
        described.append(entry)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *tails)), len(text)) if tails else (text, None)


def _listable(name: str, array: np.ndarray, datatype: str) -> Any:
    """What orjson writes as a flat list: shortest text that reads back as the same number."""
    if datatype == "BYTES":
        try:
            return [as_bytes(element).decode() for element in array.ravel()]
        except UnicodeDecodeError:
            raise Refusal(400, f"output {name!r} has bytes that are no text: ask for it as binary data") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Refusal(400, f"output {name!r} has NaN or Infinity, which JSON can't hold: ask for it as binary data")
    return np.ascontiguousarray(array).ravel()
