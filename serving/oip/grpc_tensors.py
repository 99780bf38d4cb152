"""Requests of the Open Inference Protocol over gRPC: raw bytes or typed contents, never both, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from contract import TensorSpec
from serving import protos
from serving.hosting.errors import RequestError
from serving.hosting.signature import Signature
from serving.hosting.tensors import LITTLE_ENDIAN, bytes_array, from_bytes, shape_text
from serving.protos.encoded_fields import LENGTH_DELIMITED, fields, read_varints

WALK_BYTES = 1 << 14
"""A message from here on is read without copying what is long."""
INPUTS, RAW_INPUT_CONTENTS, CONTENTS_IN_TENSOR = 5, 7, 5
BYTES_CONTENTS = 8
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
FIELDS = ("bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents",
          "fp64_contents", "bytes_contents")  # fmt: skip
"""The fields of InferTensorContents, the first with number 1."""
FIXED: dict[str, np.dtype[Any]] = {"fp32_contents": np.dtype("<f4"), "fp64_contents": np.dtype("<f8")}

_Request = protos.message("inference.ModelInferRequest")
_Tensor = protos.message("inference.ModelInferRequest.InferInputTensor")
Elements = Sequence[Any] | np.ndarray


@dataclass(slots=True)
class ParsedRequest:
    """A ModelInferRequest."""

    message: Any
    """The message; of a long one without inputs and raw contents."""
    inputs: Sequence[Any]
    """The InferInputTensors."""
    raw: Sequence[bytes | memoryview]
    contents: dict[int, dict[str, Elements]] = field(default_factory=dict)
    """The typed contents that were taken out of an input, by its index."""


def parse(data: bytes | memoryview) -> ParsedRequest:
    """Parse a message; raises RequestError where it is none."""
    try:
        if len(data) >= WALK_BYTES:
            return _walk(memoryview(data))
        message = _Request.FromString(data)
    except DecodeError:
        raise RequestError(400, "the request is not a ModelInferRequest") from None
    return ParsedRequest(message, message.inputs, message.raw_input_contents, {})


def _walk(data: memoryview) -> ParsedRequest:
    """Parse a long message: its tensors' data stay where they are."""
    head: list[memoryview] = []
    parsed = ParsedRequest(None, inputs := [], raw := [])
    for item in fields(data):
        if item.number == RAW_INPUT_CONTENTS and item.kind == LENGTH_DELIMITED:
            raw.append(item.content)
        elif item.number == INPUTS and item.kind == LENGTH_DELIMITED:
            contents = _take_contents(item.content) if len(item.content) >= WALK_BYTES else None
            if contents is None:
                inputs.append(_Tensor.FromString(item.content))
            else:
                described, parsed.contents[len(inputs)] = contents
                inputs.append(described)
        else:
            head.append(item.whole)
    parsed.message = _Request.FromString(b"".join(head))
    return parsed


def _take_contents(tensor: memoryview) -> tuple[Any, dict[str, Elements]] | None:
    """An InferInputTensor and its typed contents; None where it has none, or not packed as usual."""
    head: list[memoryview] = []
    pieces: dict[str, list[Any]] = {}
    for item in fields(tensor):
        if item.number != CONTENTS_IN_TENSOR or item.kind != LENGTH_DELIMITED:
            head.append(item.whole)
            continue
        for packed in fields(item.content):
            if packed.kind != LENGTH_DELIMITED or packed.number > len(FIELDS):
                return None
            name = FIELDS[packed.number - 1]
            pieces.setdefault(name, []).append(_read_packed(name, packed.content))
    if not pieces:
        return None
    contents: dict[str, Elements] = {}
    for name, parts in pieces.items():
        is_whole = name == "bytes_contents"
        contents[name] = parts if is_whole else parts[0] if len(parts) == 1 else np.concatenate(parts)
    return _Tensor.FromString(b"".join(head)), contents


def _read_packed(name: str, content: memoryview) -> Any:
    if name == "bytes_contents":
        return content.tobytes()
    if name not in FIXED:
        numbers = read_varints(content)
        return numbers.view(np.int64) if name in ("int_contents", "int64_contents") else numbers
    if len(content) % FIXED[name].itemsize:
        raise DecodeError("half a number at the end of a packed field")
    return np.frombuffer(content, FIXED[name])


def read_inputs(parsed: ParsedRequest, signature: Signature) -> dict[str, np.ndarray]:
    """The inputs of a request, checked; raises RequestError."""
    raw, tensors, contents = parsed.raw[:], parsed.inputs, parsed.contents
    if raw and len(raw) != len(tensors):
        expected = f"{len(tensors)} are expected, one per input"
        raise RequestError(400, f"raw_input_contents has {len(raw)} elements: {expected}")
    inputs: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(tensors):
        name, shape = tensor.name, [*tensor.shape]
        if name in inputs:
            raise RequestError(400, f"input {name!r} is given twice")
        spec = signature.check_input(name, tensor.datatype, shape)
        if not raw:
            inputs[name] = _from_contents(spec, shape, tensor, contents.get(index))
        elif index in contents or tensor.HasField("contents"):
            raise RequestError(400, f"input {name!r} has contents though raw_input_contents is used: only one may be")
        else:
            inputs[name] = from_bytes(spec, shape, raw[index])
    signature.check_complete(inputs)
    return inputs


def _from_contents(spec: TensorSpec, shape: list[int], tensor: Any, contents: dict[str, Elements] | None) -> np.ndarray:
    """The array in an input's typed contents; `contents` has them where they were taken out."""
    wanted = CONTENTS.get(spec.datatype)
    if wanted is None:
        raise RequestError(400, f"input {spec.name!r}: {spec.datatype} has no typed contents: use raw_input_contents")
    if contents is None:
        contents = {name: elements for name in FIELDS if len(elements := getattr(tensor.contents, name))}
    elements = contents.get(wanted, ())
    if len(elements) != math.prod(shape):
        other = next((name for name in sorted(contents) if len(contents[name])), wanted)
        got = str(len(elements)) if other == wanted else f"{len(elements)}, and {other} is set"
        needed = f"{spec.datatype} {shape_text(shape)} needs {math.prod(shape)} {wanted}"
        raise RequestError(400, f"input {spec.name!r}: {needed}, got {got}")
    if spec.datatype == "BYTES":
        return bytes_array(elements, shape)  # type: ignore[arg-type]
    wide = {"i": np.int64, "u": np.uint64}.get(spec.dtype.kind)
    return _typed(spec, np.asarray(elements, wide)).reshape(shape)


def _typed(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if spec.datatype == "BOOL":
        truths: np.ndarray = array != 0
        return truths
    if spec.dtype.kind in "iu":
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise RequestError(400, f"input {spec.name!r} has elements that {spec.datatype} can't hold")
    return array.astype(LITTLE_ENDIAN[spec.datatype], copy=False)
