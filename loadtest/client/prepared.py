"""Requests for a server that the model repository doesn't describe, with the numbers that each answer must hold.

The servers' benchmark writes them into an `.npz`; the load generator reads it and sends them as it sends all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from contract import Tolerance
from export.parity import row_differences
from loadtest.client.changing import ID_HEADERS, REQUEST_ID, TRACE, TRACE_HEADERS, Place
from loadtest.client.target import Check, Target, assemble_changing
from serving.server import Call, Endpoint

NOISE = np.float32(0.00012345)
"""An element of a sample that is written anew for each send, so that no two bodies are alike: about 1e-4, which no
answer shows."""
PLACES = (
    TRACE,
    REQUEST_ID,
    Place("digits", b"0.00012345", lambda number: b"0.0001%04d" % (number % 10_000)),
    Place("bytes", NOISE.tobytes(), lambda number: (number % 65_536).to_bytes(2, "little") + NOISE.tobytes()[2:]),
)
"""What differs from send to send: two headers, and NOISE as JSON text or as bytes."""


@dataclass(frozen=True)
class PreparedRequests:
    """Encoded calls, and the numbers expected for each."""

    calls: list[Call]
    expected: np.ndarray
    """FP32, one row for each call; none: answers are not looked into."""
    payload: str
    """How the numbers are found in an answer: `json`, `binary` or `grpc`."""
    changing: bool = False
    """Whether each send has a trace context, a request id and a body of its own."""

    def write(self, path: Path) -> None:
        """Write an `.npz`."""
        heads = json.dumps([{"path": call.path, "headers": dict(call.headers)} for call in self.calls])
        lengths = np.array([len(call.body) for call in self.calls])
        bodies = np.frombuffer(b"".join(call.body for call in self.calls), np.uint8)
        fields = {"payload": self.payload, "changing": self.changing, "expected": self.expected}
        np.savez(path, heads=heads, lengths=lengths, bodies=bodies, **fields)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> PreparedRequests:
        """Read what `write` wrote."""
        with np.load(path) as file:
            ends, blob = np.cumsum(file["lengths"]), file["bodies"].tobytes()
            bodies = [blob[end - length : end] for end, length in zip(ends, file["lengths"], strict=True)]
            heads = json.loads(str(file["heads"]))
            calls = [Call(head["path"], body, head["headers"]) for head, body in zip(heads, bodies, strict=True)]
            return cls(calls, file["expected"], str(file["payload"]), bool(file["changing"]))

    def target(self, endpoint: Endpoint) -> Target:
        """What the load generator sends to `endpoint`, and how it checks the answers."""
        return assemble_changing(endpoint, self.sends(), self.checks(), "", 1, PLACES if self.changing else ())

    def sends(self) -> list[Call]:
        """The calls with the headers that they are sent with."""
        if not self.changing:
            return self.calls
        return [replace(call, headers={**call.headers, **TRACE_HEADERS, **ID_HEADERS}) for call in self.calls]

    def checks(self) -> list[Check]:
        """One for each call."""
        ok_status = 0 if self.payload == "grpc" else 200
        if not self.expected.size:
            return [Check(lambda *_: {}, lambda _: "", ok_status) for _ in self.calls]
        numbers = numbers_in(self)

        def decode(body: bytes, _headers: Mapping[str, str]) -> dict[str, Any]:
            try:
                return {"numbers": numbers(body)}
            except (RuntimeError, IndexError, AttributeError) as error:  # also what protobuf says of a broken message
                raise ValueError(str(error)) from None

        return [Check(decode, _fault(row), ok_status) for row in self.expected]


def _fault(expected: np.ndarray) -> Callable[[dict[str, Any]], str]:
    def fault(answer: dict[str, Any]) -> str:
        numbers = answer["numbers"]
        if numbers.size != expected.size:
            return f"{numbers.size} numbers, expected {expected.size}"
        off = float(row_differences(numbers[np.newaxis], expected[np.newaxis])[0])
        return "" if off <= Tolerance().allowed else f"off by {off:.3g} (at most {Tolerance().allowed:g} is right)"

    return fault


def numbers_in(requests: PreparedRequests) -> Callable[[bytes], np.ndarray]:
    """The function that finds the numbers in an answer's body; it raises where there are none."""
    if requests.payload == "json":
        return _json_numbers
    if requests.payload == "grpc":
        return _grpc_numbers(requests.calls[0].path)
    size = 4 * requests.expected.shape[1]
    return lambda body: np.frombuffer(body[-size:], np.float32)


def _json_numbers(body: bytes) -> np.ndarray:
    """The first list of numbers, below the keys that servers put it under."""
    value: Any = orjson.loads(body)
    while not (isinstance(value, list) and isinstance(value[0], (list, float, int))):
        if isinstance(value, dict):
            value = value[next((key for key in ("outputs", "predictions", "data") if key in value), next(iter(value)))]
        else:
            value = value[0]
    return np.asarray(value, np.float64).ravel()


def _grpc_numbers(path: str) -> Callable[[bytes], np.ndarray]:
    from serving import protos

    def oip(answer: Any) -> np.ndarray:
        if answer.raw_output_contents:
            return np.frombuffer(answer.raw_output_contents[0], np.float32)
        return np.array(answer.outputs[0].contents.fp32_contents)

    def tensorflow(answer: Any) -> np.ndarray:
        tensor = next(iter(answer.outputs.values()))
        return np.frombuffer(tensor.tensor_content, np.float32) if tensor.tensor_content else np.array(tensor.float_val)

    service = path.strip("/").partition("/")[0]
    message, numbers = {
        "inference.GRPCInferenceService": ("inference.ModelInferResponse", oip),
        "tensorflow.serving.PredictionService": ("tensorflow.serving.PredictResponse", tensorflow),
        "org.pytorch.serve.grpc.inference.InferenceAPIsService": (
            "org.pytorch.serve.grpc.inference.PredictionResponse",
            lambda answer: np.frombuffer(answer.prediction, np.float32),
        ),
    }[service]
    answers = protos.message(message)
    return lambda body: numbers(answers.FromString(body))
