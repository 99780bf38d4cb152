"""The fields of serialized messages: what protobuf reads, without its copies."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from serving import protos
from serving.protos.encoded_fields import fields, message_with, read_varints, varint

Contents = protos.message("inference.InferTensorContents")
Response = protos.message("inference.ModelInferResponse")


def test_fields_are_those_that_were_written() -> None:
    request = protos.message("inference.ModelInferRequest")(model_name="é", raw_input_contents=[b"abc", b""])
    assert [(f.number, bytes(f.content)) for f in fields(memoryview(request.SerializeToString()))] == [
        (1, "é".encode()),
        (7, b"abc"),
        (7, b""),
    ]


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x00\x00", b"\xff" * 11, b"\x0d\0\0\0"])
def test_damaged_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        list(fields(memoryview(data)))


@pytest.mark.parametrize("field", ["int_contents", "int64_contents", "uint64_contents", "bool_contents"])
def test_varints_are_read_as_protobuf_reads_them(field: str) -> None:
    limits = {"int_contents": (-(2**31), 2**31 - 1), "int64_contents": (-(2**63), 2**63 - 1)}
    low, high = limits.get(field, (0, 1 if field == "bool_contents" else 2**64 - 1))
    values = [
        low,
        high,
        0,
        1,
        *np.random.default_rng(0).integers(0, 2**14, 300_000).clip(low, min(high, 2**62)).tolist(),
    ]
    (packed,) = fields(memoryview(Contents(**{field: values}).SerializeToString()))
    numbers = read_varints(packed.content)
    assert (numbers.view(np.int64) if low < 0 else numbers).tolist() == [int(value) for value in values]


@pytest.mark.parametrize("packed", [b"\x80", b"\x01\xff", b"\x80" * 10 + b"\x01"])
def test_damaged_varints_are_refused(packed: bytes) -> None:
    with pytest.raises(DecodeError):
        read_varints(memoryview(packed))


def test_message_with_bytes_at_its_end_is_the_message() -> None:
    data = message_with(Response(model_name="m").SerializeToString(), 6, [b"x" * 300, b""])
    assert Response.FromString(data) == Response(model_name="m", raw_output_contents=[b"x" * 300, b""])
    assert varint(300) == b"\xac\x02"
