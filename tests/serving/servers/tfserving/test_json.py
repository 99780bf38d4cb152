"""JSON in and out: what is read and refused, the fast reader held against the other, what is written."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.servers.tfserving.json_codec import predict, predict_fast, reader
from serving.servers.tfserving.json_codec.reader import read_object, read_value
from serving.servers.tfserving.json_codec.responses import classifications, columns, error_body, predictions
from serving.servers.tfserving.json_codec.value import dump, to_bytes
from serving.servers.tfserving.model.signatures import KIND_OF, Port, Signature
from serving.servers.tfserving.status import Status

MALFORMED = (
    b"]", b"{", b'{"a"', b'{"a":}', b'{"a":1,}', b'{"a":1 "b"', b"[", b"[1,]", b"[1 2]", b"[nul]", b"[-]", b"[nan]",
    b"[01]", b"[+1]", b"[.5]", b"[1.]", b"[1e]", b"[1e309]", b"[-1e309]", b"[" + b"9" * 400 + b"]", b'["\x01"]',
    b'["\\x"]', b'["\\u12"]', b'["a', b"[1/*c*/]", b"['a']", b"\xff\xfe[\x001\x00]\x00", b"[" * 100_000,
)  # fmt: skip


@pytest.fixture(params=["short", "long"])
def any_length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the bodies of a test as short and as long ones."""
    monkeypatch.setattr(reader, "LONG_BODY_BYTES", {"short": 1 << 20, "long": 0}[request.param])


@pytest.mark.usefixtures("any_length")
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:12]))
def test_reader_refuses_what_is_no_json(body: bytes) -> None:
    with pytest.raises(Status, match=r"^INVALID_ARGUMENT: JSON Parse error: [A-Z]"):
        read_value(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"", "The document is empty"), (b" \n", "The document is empty. at offset: 2"),
     (b"[1e400]", "Number too big to be stored in double.")],
)  # fmt: skip
def test_reader_says_why_as_the_genuine_server_does(body: bytes, text: str) -> None:
    with pytest.raises(Status) as refused:
        read_value(body)
    assert refused.value.message == f"JSON Parse error: {text}"


@pytest.mark.usefixtures("any_length")
def test_reader_takes_what_the_genuine_server_takes() -> None:
    assert read_value(b"\xef\xbb\xbf [NaN, Inf, -Inf, -Infinity, 1] trailing")[1:] == [
        math.inf,
        -math.inf,
        -math.inf,
        1,
    ]
    assert to_bytes(read_value(b'"\xff\\u00e9"')) == b"\xff\xc3\xa9"
    assert read_object(b'{"a":1,"b":3,"a":2}') == {"a": 1, "b": 3}
    assert read_value(b'["Inf \\" Inf", Inf]') == ['Inf " Inf', math.inf]
    numbers = read_value(b"[18446744073709551615,18446744073709551616,-9223372036854775809,1e2]")
    assert [type(number) for number in numbers] == [int, float, float, float]


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(Status, match=r"JSON Parse error: The surrogate pair in string is invalid\."):
        to_bytes(read_value(b'"\\ud800"'))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_reader_reads_what_json_writes(value: Any) -> None:
    assert read_value(json.dumps(value).encode()) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_reader_answers_any_bytes(body: bytes) -> None:
    with contextlib.suppress(Status):  # a refusal is an answer; anything else is not
        dump(read_value(b"[" + body))


def test_a_shown_value_is_cut() -> None:
    assert dump(["a" * 100] * 10).count("a") == 300
    assert len(dump(["a" * 10**6])) < 10**4
    assert dump(read_value(b"[" * 400 + b"]" * 400)) == "[" * 256


# the fast reader


def signature(dtype: str) -> Signature:
    port = Port("x", "x:0", KIND_OF[np.dtype(dtype)], None)
    return Signature("serving_default", {"x": port}, {"x": port}, "", None)


odd = st.sampled_from(["1.0", "1e39", "1e-46", "-1e-40", "-0", "01", "1.", "true", "[]", "1 2", ""])
numbers = st.integers(-(10**21), 10**21) | st.floats() | odd


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["float32", "float64", "int32", "uint8", "uint64", "int64"]), st.integers(1, 40))
def test_fast_reader_agrees_with_the_other(data: st.DataObject, dtype: str, piece_bytes: int) -> None:
    number = numbers.map(str)
    leaves = st.lists(number, max_size=3).map(lambda items: f"[{','.join(items)}]")
    value = data.draw(leaves | st.lists(leaves, max_size=3).map(lambda rows: f"[ {', '.join(rows)}]"))
    key = data.draw(st.sampled_from(["instances", "inputs"]))
    body = f'{{"{key}": {value}}}'.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_fast, "PIECE_BYTES", piece_bytes)
        fast = predict_fast.read_predict(body, lambda name: signature(dtype))
    if fast is not None:
        _, tensors, by_rows = predict.read_predict(body, lambda name: signature(dtype))
        assert fast[2] == by_rows
        assert fast[1]["x"].dtype == tensors["x"].dtype
        assert np.array_equal(fast[1]["x"], tensors["x"])
        assert np.array_equal(np.signbit(fast[1]["x"]), np.signbit(tensors["x"]))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 28, 28, 1), (2, 1, 1), (5, 1), (1, 200_000, 1)])
def test_fast_reader_takes_the_usual_request(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape, np.float32)
    body = orjson.dumps({"signature_name": "serving_default", "instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    fast = predict_fast.read_predict(body, lambda name: signature("float32"))
    assert fast is not None
    assert np.array_equal(fast[1]["x"], array)


DOUBTFUL = (
    b"[[1],2]",
    b"[1[],2[]]",
    b"[[],[]]",
    b"[[1,2],[3]]",
    b"[1,,2]",
    b'["1"]',
    b"[[[1],2]",
    b"[1[2]]",
    b"[[1]2]",
)


@pytest.mark.parametrize("values", DOUBTFUL)
def test_fast_reader_leaves_doubt_to_the_other(values: bytes) -> None:
    assert predict_fast.read_predict(b'{"instances":' + values + b"}", lambda name: signature("float32")) is None


@pytest.mark.parametrize("text", ["1e-46", "-1e-39"])
def test_numbers_below_the_smallest_normal_are_zeros_with_their_sign(text: str) -> None:
    fast = predict_fast.read_predict(f'{{"inputs": [{text}]}}'.encode(), lambda name: signature("float32"))
    assert fast is not None
    assert fast[1]["x"].tolist() == [0.0]
    assert np.signbit(fast[1]["x"][0]) == text.startswith("-")


# answers


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1 / 3, "0.33333334"), (-0.0, "-0.0"), (3, "3.0"), (float("nan"), "NaN"),
     (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (3.4028235e38, "3.4028235e+38")],
)  # fmt: skip
def test_floats_are_written_with_the_fewest_digits(value: float, text: str) -> None:
    array = np.array([value, 0.5], np.float32)
    assert predictions({"y": array}) == f'{{"predictions": [{text},0.5]}}'.encode()
    assert columns({"y": array[0]}) == f'{{"outputs": {text}}}'.encode()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32)))
def test_floats_read_back_the_same(values: list[float]) -> None:
    array = np.array(values, np.float32)
    written = np.array(json.loads(columns({"y": array}))["outputs"], np.float32)
    assert np.array_equal(written, array, equal_nan=True)


def test_strings_are_escaped_and_other_bytes_kept() -> None:
    array = np.array([b'a"\\/\n\x01\xff', "é".encode()], object)
    assert predictions({"y": array}) == b'{"predictions": ["a\\"\\\\/\\n\\u0001\xff", "\xc3\xa9"]}'
    assert predictions({"y_bytes": array[1:]}) == b'{"predictions": [{"b64": "w6k="}]}'
    assert error_body("a\udcff") == b'{"error": "a\xff"}'


@pytest.mark.parametrize("dtype", ["float16", "complex64"])
def test_a_type_without_json_is_refused_by_name(dtype: str) -> None:
    name = {"float16": "half"}.get(dtype, dtype)
    with pytest.raises(Status, match=f"Failed to write JSON value for tensor type: {name}"):
        predictions({"y": np.zeros(1, dtype)})


@pytest.mark.parametrize("shape", [(0,), (2,), (2, 0), (2, 3), (1, 2, 2), (3, 300, 300), (1, 1, 200_000)])
def test_answers_are_json_of_the_tensor(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    assert json.loads(predictions({"y": array})) == {"predictions": array.tolist()}
    assert json.loads(columns({"y": array})) == {"outputs": array.tolist()}
    rows = [{"a": row, "b": row} for row in array.tolist()]
    assert json.loads(predictions({"a": array, "b": array})) == {"predictions": rows}
    assert json.loads(columns({"a": array, "b": array})) == {"outputs": {"a": array.tolist(), "b": array.tolist()}}


def test_classes_without_scores_and_scores_without_classes() -> None:
    labels, scores = np.array([[b"cat", b"dog"]], object), np.array([[0.5, float("nan")]], np.float32)
    assert classifications(labels, scores, 1) == b'{"results": [[["cat", 0.5], ["dog", NaN]]]}'
    assert classifications(labels, None, 1) == b'{"results": [[["cat", 0.0], ["dog", 0.0]]]}'
    assert classifications(None, scores[:, :1], 1) == b'{"results": [[["", 0.5]]]}'
