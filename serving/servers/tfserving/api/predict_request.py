"""A PredictRequest as bytes, its tensors as arrays; a long one is read without copying what is long."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from serving.protos.encoded_fields import LENGTH_DELIMITED, fields
from serving.servers.tfserving.model.tensor_protos import from_encoded, from_proto

INPUTS, KEY, VALUE = 2, 1, 2
"""Numbers of PredictRequest.inputs, and of the fields of an entry of that map."""


@dataclass(frozen=True)
class PredictRequest:
    """One request; its tensors are read when the signature is known."""

    message: Any
    """The message; of a long one without inputs."""
    tensors: Mapping[str, Any]
    """By alias a TensorProto, or the memory of an encoded one."""

    @property
    def model_spec(self) -> Any:
        """Which model is meant."""
        return self.message.model_spec

    def read(self, aliases: Collection[str]) -> dict[str, np.ndarray]:
        """The arrays of these inputs; raises Status."""
        return {
            alias: from_encoded(tensor, alias) if isinstance(tensor, memoryview) else from_proto(tensor, alias)
            for alias, tensor in self.tensors.items()
            if alias in aliases
        }


class LongPredictRequest(PredictRequest):
    """One whose tensors take long to read."""


def parse_predict(body: bytes | memoryview) -> PredictRequest:
    """Parse a message of usual size; raises DecodeError."""
    message = predict_pb2.PredictRequest.FromString(body)
    return PredictRequest(message, message.inputs)


def parse_long_predict(body: bytes | memoryview) -> LongPredictRequest:
    """The same for a long message, whose tensors stay where they are."""
    head: list[memoryview] = []
    tensors: dict[str, memoryview] = {}
    for field in fields(memoryview(body)):
        if field.number == INPUTS and field.kind == LENGTH_DELIMITED:
            entry = {part.number: part.content for part in fields(field.content)}
            try:
                tensors[bytes(entry.get(KEY, b"")).decode()] = entry.get(VALUE, memoryview(b""))
            except UnicodeDecodeError as error:
                raise DecodeError(str(error)) from None
        else:
            head.append(field.whole)
    return LongPredictRequest(predict_pb2.PredictRequest.FromString(b"".join(head)), tensors)
