"""Long requests and answers, which threads read and write: the same as short ones."""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protos import message
from serving.servers.tfserving.model.signatures import KINDS
from serving.servers.tfserving.model.tensor_protos import FIELD_NUMBERS, from_encoded, from_proto, to_proto
from serving.servers.tfserving.status import Status

TENSOR = message("tensorflow.serving.TensorProto")
PLAIN = [kind for kind in KINDS.values() if kind.name not in ("complex64", "complex128")]  # the project's has no such
LONG = 400_000
"""Elements of a tensor whose message is longer than a megabyte."""


def outcome(read: Any, *arguments: Any) -> Any:
    """What a reader gives, or why it refuses."""
    try:
        array = read(*arguments)
    except (Status, DecodeError) as error:
        return str(error)
    return array.dtype, array.shape, array.tobytes() if array.dtype != object else array.tolist()


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(), kind=st.sampled_from(PLAIN), as_content=st.booleans(), shape=st.lists(st.integers(0, 3), max_size=3)
)
def test_encoded_tensors_are_read_as_parsed_ones(data: st.DataObject, kind: Any, as_content: bool, shape: Any) -> None:
    count = data.draw(st.integers(0, int(np.prod(shape)) + 1))
    if kind.name == "string":
        array = np.array([b"%d" % index for index in range(count)] + [None], object)[:-1]
    else:
        array = np.random.default_rng(count).integers(-3, 300, count).astype(kind.dtype)
    proto = TENSOR()
    to_proto(array, proto, as_content)
    del proto.tensor_shape.dim[:]
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    encoded = memoryview(proto.SerializeToString())
    assert outcome(from_encoded, encoded, "x") == outcome(from_proto, proto, "x")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_tensor_or_refused(data: bytes) -> None:
    assert isinstance(outcome(from_encoded, memoryview(data), "x"), tuple | str)


def test_numbers_that_are_not_packed_are_read_too() -> None:
    head = TENSOR(dtype=1)
    head.tensor_shape.dim.add().size = 2
    values = b"".join(bytes([FIELD_NUMBERS["float_val"] << 3 | 5]) + np.float32(value).tobytes() for value in (1, 2))
    assert from_encoded(memoryview(head.SerializeToString() + values), "x").tolist() == [1, 2]


def test_long_numbers_are_answered_in_every_form(embedded: Any) -> None:
    x = np.random.default_rng(0).random(LONG, np.float32)
    y = x * np.float32(0.5) + 2
    status, answer = embedded.post("/v1/models/tf2:predict", {"instances": x.tolist()})
    assert status == 200
    assert np.array_equal(np.array(answer["predictions"], np.float32), y)
    typed = embedded.predict("tf2", x=x).outputs["y"]
    assert [dim.size for dim in typed.tensor_shape.dim] == [LONG]
    assert np.array_equal(np.array(typed.float_val, np.float32), y)


def test_long_strings_are_answered_in_every_form(embedded: Any) -> None:
    x = np.full(LONG, b"abc", object)
    body = {"signature_name": "upper", "inputs": ["abc"] * LONG}
    assert embedded.post("/v1/models/tf2:predict", body) == (200, {"outputs": ["ABC"] * LONG})
    assert set(embedded.predict("tf2", "upper", x=x).outputs["y"].string_val) == {b"ABC"}


@pytest.mark.parametrize(
    ("signature", "text"),
    [("product", "{{node"), ("nope", 'Serving signature key "nope" not found.')],
)
def test_a_long_mistake_is_refused_in_words(embedded: Any, signature: str, text: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        embedded.predict("tf2", signature, x=np.zeros(LONG, np.float32))
    assert text in refused.value.details()


def test_a_long_message_that_is_none_is_refused(embedded: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{embedded.grpc}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\x12\xff" * 10**6, timeout=30)
    assert refused.value.details() == "the request is no tensorflow.serving.PredictRequest"


def test_long_examples_are_answered(embedded: Any) -> None:
    examples = [{"x": [float(index % 7), 1.0]} for index in range(60_000)]
    body = json.dumps({"signature_name": "reg", "examples": examples}).encode()
    assert len(body) > 1 << 20
    status, answer = embedded.post("/v1/models/cls:regress", body)
    assert (status, len(answer["results"])) == (200, 60_000)
    short = embedded.post("/v1/models/cls:regress", {"signature_name": "reg", "examples": examples[:7]})[1]
    assert answer["results"][:7] == short["results"]
