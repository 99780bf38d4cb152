"""Remembers what gRPC requests say around their tensor, so that the next like them is not parsed again.

Clients send the same message again and again with other numbers: in the usual encoding everything but the numbers comes
first, and the same bytes say the same. Only requests with one raw input, without id and parameters, are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contract import TensorSpec
from serving.hosting.served_model import ServedModel
from serving.hosting.signature import from_bytes, to_bytes

RAW_INPUT_TAG, RAW_OUTPUT_TAG = 0x3A, 0x32
"""`raw_input_contents` and `raw_output_contents` on the wire: field 7 and field 6, with a length."""
MOST = 256
HEAD_BYTES = 2048


@dataclass(slots=True)
class Known:
    """A request whose bytes before the tensor are known."""

    hosted: ServedModel
    spec: TensorSpec
    shape: list[int]
    wanted: list[str]
    answers: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    """The bytes of the answer before its tensor, by the output's shape."""

    def inputs(self, raw: bytes) -> dict[str, np.ndarray]:
        """The inputs of the batcher."""
        return {self.spec.name: from_bytes(self.spec, self.shape, raw)}


class Recall:
    """The requests known to one server."""

    def __init__(self) -> None:
        self._head_bytes: dict[int, int] = {}
        self._known: dict[bytes, Known] = {}

    def find(self, data: bytes) -> tuple[Known, bytes] | None:
        """What is known of a message, and its tensor's bytes."""
        length = self._head_bytes.get(len(data))
        if length is None or (known := self._known.get(data[:length])) is None:
            return None
        return known, data[length:]

    def learn(self, data: bytes, request: Any, hosted: ServedModel, wanted: list[str]) -> Known | None:
        """Remember a message that was parsed and found right, if it is of the kind that can be."""
        if len(request.raw_input_contents) != 1 or request.id or request.parameters or hosted.signature.has_bytes:
            return None
        raw = request.raw_input_contents[0]
        head = data[: len(data) - len(raw)]
        frame = bytes((RAW_INPUT_TAG,)) + _varint(len(raw))
        if len(head) > HEAD_BYTES or not data.endswith(raw) or not head.endswith(frame):
            return None
        if len(wanted or hosted.signature.outputs) != 1 or not _ends_with_tensor(type(request), head, raw):
            return None
        if len(self._known) >= MOST:
            self._known.clear()
            self._head_bytes.clear()
        tensor = request.inputs[0]
        known = Known(hosted, hosted.signature.inputs[tensor.name], list(tensor.shape), wanted)
        self._head_bytes[len(data)] = len(head)
        self._known[head] = known
        return known


def _ends_with_tensor(message: Any, head: bytes, raw: bytes) -> bool:
    """Whether the last bytes are the tensor and nothing else: with others in their place, only the tensor differs."""
    other = bytes(byte ^ 255 for byte in raw)
    return bool(message.FromString(head + other).raw_input_contents[0] == other)


def answer(known: Known, outputs: dict[str, np.ndarray]) -> bytes | None:
    """The answer's bytes, where its head is known."""
    name = known.wanted[0] if known.wanted else next(iter(known.hosted.signature.outputs))
    array = outputs[name]
    head = known.answers.get(array.shape)
    return None if head is None else head + to_bytes(array, known.hosted.signature.outputs[name].datatype)


def learn_answer(known: Known, data: bytes, raw: bytes, shape: tuple[int, ...]) -> None:
    """Remember the head of an answer that was encoded."""
    head = data[: len(data) - len(raw)]
    if head.endswith(bytes((RAW_OUTPUT_TAG,)) + _varint(len(raw))) and data.endswith(raw):
        known.answers[shape] = head


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
