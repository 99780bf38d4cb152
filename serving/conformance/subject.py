"""The server under test with one of its models: where it listens, the model's signature, and inputs to send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract import TensorSpec
from serving.conformance.exchange import Called, Reply, ask, call


@dataclass(frozen=True)
class Subject:
    """Everything that a case may use; REST cases need `rest`, gRPC cases `rpc` (both `host:port`)."""

    artifact: str
    rest: str
    rpc: str
    inputs_specs: tuple[TensorSpec, ...]
    outputs_specs: tuple[TensorSpec, ...]
    inputs: Mapping[str, np.ndarray]
    """Two samples as one batch where the batch is free, else one."""
    expected: Mapping[str, np.ndarray] | None = None
    """The right outputs for `inputs`, where the repository knows them."""

    @property
    def first(self) -> TensorSpec:
        """The first input of the model."""
        return self.inputs_specs[0]

    @property
    def has_free_batch(self) -> bool:
        """Whether every input has -1 as its first dimension."""
        return all(spec.shape and spec.shape[0] == -1 for spec in self.inputs_specs)

    def sample(self, count: int = 1) -> dict[str, np.ndarray]:
        """The first `count` samples as a batch; all inputs as they are where the batch isn't free."""
        return {name: array[:count] if self.has_free_batch else array for name, array in self.inputs.items()}

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET `path`."""
        return ask(self.rest, "GET", path, None, headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else to_json(body)
        return ask(self.rest, "POST", path, content, {"Content-Type": "application/json", **(headers or {})})

    def call(self, method: str, request: Any) -> Called:
        """Call a unary gRPC method with a message, or with bytes as they are."""
        return call(self.rpc, method, request if isinstance(request, bytes) else request.SerializeToString())


def to_json(value: Any) -> bytes:
    """JSON in bytes, arrays as nested lists, BYTES elements as strings."""
    return json.dumps(value, default=_listed).encode()


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"no JSON for {type(value).__name__}")
