"""The Open Inference Protocol v2, apart from its wire formats: what a model accepts, and every way to refuse.

REST (`oip_rest.py`) and gRPC (`oip_grpc.py`) parse their own bytes and check through this module, so that a mistake has
the same words in both. https://github.com/kserve/open-inference-protocol/tree/main/specification/protocol
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from contract import DATATYPES, Tensors, TensorSpec
from serving.hosting.batcher import DeadlineExceeded, QueueFull

MESSAGE_CHARACTERS = 1000
"""A refusal quotes what the client sent, which may be long; gRPC puts it into a header."""
EXTENSIONS = ("binary_tensor_data", "model_repository")
PLATFORMS = {"onnx": "onnx_onnxv1", "savedmodel": "tensorflow_savedmodel", "torchscript": "pytorch_torchscript"}
"""The specification's names; a format that it doesn't know goes by its own."""
ELEMENT_BYTES = {name: dtype.itemsize for name, dtype in DATATYPES.items() if name != "BYTES"}
LITTLE_ENDIAN = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATATYPES.items() if name != "BYTES"}


class Refusal(Exception):  # noqa: N818 - an answer, and rarely the server's error
    """An answer that is an error: its HTTP status, and words for the client; gRPC maps the status to its code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]}…")
        self.status = status


def to_refusal(error: BaseException) -> Refusal:
    """Any error of an inference as a refusal: what REST and gRPC tell the client."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, QueueFull):
        return Refusal(503, f"the queue is full: {error}")
    if isinstance(error, DeadlineExceeded):
        return Refusal(504, str(error))
    if isinstance(error, MemoryError):
        return Refusal(500, "not enough memory for this request")
    first_line = str(error).partition("\n")[0][:300]
    return Refusal(400, f"the model failed on this input: {type(error).__name__}: {first_line}")


def described(spec: TensorSpec) -> str:
    """A tensor as messages name it: `image (FP32 [-1,28,28,1])`."""
    return f"{spec.name} ({spec.datatype} {shown(spec.shape)})"


def shown(shape: Iterable[int]) -> str:
    """A shape as messages show it: `[-1,28,28,1]`."""
    return "[" + ",".join(map(str, shape)) + "]"


class Signature:
    """What a model takes and gives, ready for checking requests."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], may_join: bool = False) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        tensors = (*inputs, *outputs)
        names = {spec.dimensions[0] for spec in tensors if spec.dimensions[:1] not in ((), ("",))}
        self.has_batch = all(spec.shape[:1] == (-1,) for spec in tensors) and len(names) < 2
        """Whether the first dimension of every tensor is free, and the same one by its name where it has a name."""
        self.joins = self.has_batch and may_join
        """Whether requests may share a run: `may_join` says that rows are known to be independent."""
        self.has_bytes = any(spec.datatype == "BYTES" for spec in (*inputs, *outputs))
        self.layouts: dict[bytes, Any] = {}
        """What `oip_json` remembers of requests for this model."""

    def input(self, name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
        """The spec that an input of the request has to meet; raises Refusal where it does not."""
        spec = self.inputs.get(name)
        if spec is None:
            raise Refusal(400, f"unexpected input {name!r}: the model takes {self._list(self.inputs)}")
        if datatype != spec.datatype:
            known = "" if datatype in DATATYPES else f", which is no datatype (there are {', '.join(DATATYPES)})"
            raise Refusal(400, f"input {name!r} has datatype {datatype!r}{known}: the model expects {spec.datatype}")
        if len(shape) != len(spec.shape) or any(
            [want not in (-1, have) for have, want in zip(shape, spec.shape, strict=True)]  # noqa: C419 - faster so
        ):
            raise Refusal(400, f"input {name!r} has shape {shown(shape)}: the model expects {shown(spec.shape)}")
        if 0 in shape:
            raise Refusal(400, f"input {name!r} has shape {shown(shape)}, no element: at least one is expected")
        return spec

    def check_complete(self, inputs: Tensors) -> None:
        """Raise Refusal unless every input is there, and where requests can be joined with the same number of rows."""
        if len(inputs) != len(self.inputs):
            missing = [described(spec) for name, spec in self.inputs.items() if name not in inputs]
            raise Refusal(400, f"missing input {', '.join(missing)}")
        if self.joins and len(inputs) > 1 and len({len(array) for array in inputs.values()}) > 1:
            rows = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
            raise Refusal(400, f"the inputs differ in their first dimension ({rows}): the same is expected of all")

    def output(self, name: Any) -> str:
        """A requested output's name; raises Refusal where there is none of that name."""
        if name not in self.outputs:
            raise Refusal(400, f"unknown output {name!r}: the model gives {self._list(self.outputs)}")
        return str(name)

    @staticmethod
    def _list(specs: dict[str, TensorSpec]) -> str:
        return ", ".join(described(spec) for spec in specs.values())


def from_bytes(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> np.ndarray:
    """The array in a tensor's raw bytes: little-endian, row-major, BYTES elements with a length of four bytes each.

    No copy is made; the array is read-only. Raises Refusal where the size is not what the shape needs.
    """
    if spec.datatype == "BYTES":
        return _from_length_prefixed(spec.name, shape, bytes(data))
    expected = math.prod(shape) * ELEMENT_BYTES[spec.datatype]
    if len(data) != expected:
        raise Refusal(
            400,
            f"input {spec.name!r} has {len(data)} bytes of data: {spec.datatype} {shown(shape)} needs {expected}",
        )
    if spec.datatype == "BOOL":  # any byte is a truth, but NumPy's bool must be 0 or 1
        truths: np.ndarray = np.frombuffer(data, np.uint8).reshape(shape) != 0
        return truths
    array: np.ndarray = np.frombuffer(data, LITTLE_ENDIAN[spec.datatype]).reshape(shape)
    return array


def _from_length_prefixed(name: str, shape: Sequence[int], data: bytes) -> np.ndarray:
    elements: list[bytes] = []
    start, count = 0, math.prod(shape)
    while start + 4 <= len(data) and len(elements) < count:
        (length,) = struct.unpack_from("<I", data, start)
        if start + 4 + length > len(data):
            break
        elements.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    if start != len(data) or len(elements) != count:
        raise Refusal(
            400,
            f"input {name!r}: BYTES {shown(shape)} needs {count} elements, each its length in four bytes "
            f"and its content; found {len(elements)} in the first {start} of {len(data)} bytes",
        )
    return bytes_array(elements, shape)


def bytes_array(elements: Sequence[bytes], shape: Sequence[int]) -> np.ndarray:
    """An object array of `bytes`."""
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def to_bytes(array: np.ndarray, datatype: str) -> bytes:
    """A tensor's raw bytes, the reverse of `from_bytes`."""
    if datatype == "BYTES":
        elements = [as_bytes(element) for element in array.ravel()]
        return b"".join(struct.pack("<I", len(element)) + element for element in elements)
    return array.astype(LITTLE_ENDIAN[datatype], copy=False).tobytes()


def as_bytes(element: Any) -> bytes:
    """One element of a BYTES tensor, which a runtime may give as `str`."""
    return element if isinstance(element, bytes) else str(element).encode()
