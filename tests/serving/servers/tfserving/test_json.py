"""JSON in and out: the exact reader, the fast one held against it, the writer's numbers and dumps."""

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

from serving.servers.tfserving.json_codec import predict_exact as json_tensors
from serving.servers.tfserving.json_codec import predict_fast as json_fast
from serving.servers.tfserving.json_codec.reader import MAX_DEPTH, JsonObject, read_object, read_value
from serving.servers.tfserving.json_codec.responses import columns, predictions
from serving.servers.tfserving.json_codec.writer import dump, float_texts, quote
from serving.servers.tfserving.model.signatures import KIND_OF, Port, Signature
from serving.servers.tfserving.status import Status

# offsets and texts: rapidjson v1.1.0, by its source
ERRORS = {
    b"": "The document is empty",
    b" ": "The document is empty. at offset: 1",
    b"]": "The document is empty. at offset: 0",
    b"{": "Missing a name for object member. at offset: 1",
    b'{"a"': "Missing a colon after a name of object member. at offset: 4",
    b'{"a":': "Invalid value. at offset: 5",
    b'{"a":}': "Invalid value. at offset: 5",
    b'{"a":1,}': "Missing a name for object member. at offset: 7",
    b'{"a":1 "b"': "Missing a comma or '}' after an object member. at offset: 7",
    b"[": "Invalid value. at offset: 1",
    b"[1,]": "Invalid value. at offset: 3",
    b"[1 2]": "Missing a comma or ']' after an array element. at offset: 3",
    b"[nul]": "Invalid value. at offset: 4",
    b"[trux]": "Invalid value. at offset: 4",
    b"[-]": "Invalid value. at offset: 2",
    b"[-x]": "Invalid value. at offset: 2",
    b"[Nan]": "Invalid value. at offset: 3",
    b"[Infin]": "Invalid value. at offset: 6",
    b"[1e]": "Miss exponent in number. at offset: 3",
    b"[1e+]": "Miss exponent in number. at offset: 4",
    b"[1.5e309]": None,
    b"[1e309]": "Number too big to be stored in double. at offset: 1",
    b"[" + b"9" * 400 + b"]": "Number too big to be stored in double. at offset: 1",
    b'["\x01"]': "Invalid escape character in string. at offset: 2",
    b'["\\x"]': "Invalid escape character in string. at offset: 2",
    b'["\\u12"]': "Incorrect hex digit after \\u escape in string. at offset: 2",
    b'["\\ud800x"]': "The surrogate pair in string is invalid. at offset: 2",
    b'["a\0"]': "Missing a closing quotation mark in string. at offset: 3",
    b"[1\0]": "Missing a comma or ']' after an array element. at offset: 2",
}


@pytest.mark.parametrize(("body", "message"), ERRORS.items(), ids=map(repr, ERRORS))
def test_reader_words_errors_as_rapidjson(body: bytes, message: str | None) -> None:
    if message is None:
        assert math.isinf(read_value(body)[0])
        return
    with pytest.raises(Status) as refused:
        read_value(body)
    assert refused.value.message == f"JSON Parse error: {message}"


def test_reader_takes_what_rapidjson_takes() -> None:
    assert read_value(b"\xef\xbb\xbf[NaN, Inf, -Infinity, -0, 1] trailing")[1:] == [math.inf, -math.inf, 0, 1]
    assert read_value(b'"\xff\\udc00"') == b"\xff\xed\xb0\x80"
    assert read_object(b'{"a":1,"a":2}').find(b"a") == 1
    assert read_value(b"[18446744073709551615,18446744073709551616]") == [2**64 - 1, float(2**64)]
    assert read_value(b"[5e-324,-1e-310]") == [0.0, 0.0]


def test_reader_survives_deep_nesting() -> None:
    value = read_value(b"[" * 50_000 + b"]" * 50_000)
    assert dump(value).startswith("[[[[")
    with pytest.raises(Status, match="Nested deeper"):
        read_value(b"[" * (MAX_DEPTH + 10))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(width=64) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def as_python(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return {name.decode(): as_python(item) for name, item in value}
    if isinstance(value, list):
        return [as_python(item) for item in value]
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == pytest.approx(right, rel=1e-15, abs=1e-307, nan_ok=True)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_reader_reads_what_json_writes(value: Any) -> None:
    assert close(as_python(read_value(json.dumps(value).encode())), value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_reader_answers_any_bytes(body: bytes) -> None:
    with contextlib.suppress(Status):  # a refusal is an answer; anything else is not
        dump(read_value(b"[" + body))


# the fast reader


def signature(dtype: str) -> Signature:
    port = Port("x", "x:0", KIND_OF[np.dtype(dtype)], None)
    return Signature("serving_default", {"x": port}, {"x": port}, "", None)


odd = st.sampled_from(["1.0", "1e39", "1e-46", "-0", "01", "1.", "true"])
numbers = st.integers(-(10**21), 10**21) | st.floats() | odd


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["float32", "int32", "uint8", "uint64", "int64"]))
def test_fast_reader_agrees_with_the_exact_one(data: st.DataObject, dtype: str) -> None:
    number = numbers.map(str)
    leaves = st.lists(number, max_size=3).map(lambda items: f"[{','.join(items)}]")
    value = data.draw(leaves | st.lists(leaves, max_size=3).map(lambda rows: f"[ {', '.join(rows)}]"))
    key = data.draw(st.sampled_from(["instances", "inputs"]))
    body = f'{{"{key}": {value}}}'.encode()
    fast = json_fast.read_predict(body, lambda name: signature(dtype))
    if fast is not None:
        _, exact, by_rows = json_tensors.read_predict(body, lambda name: signature(dtype))
        assert fast[2] == by_rows
        assert fast[1]["x"].shape == exact["x"].shape
        # RapidJSON's doubles are not always the nearest, which shows where a float lies just between two others
        assert np.allclose(fast[1]["x"], exact["x"], rtol=2e-7, atol=0, equal_nan=True)
        assert np.array_equal(np.signbit(fast[1]["x"]), np.signbit(exact["x"]))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 28, 28, 1), (2, 1, 1), (5, 1)])
def test_fast_reader_takes_the_usual_request(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape, np.float32)
    body = orjson.dumps({"signature_name": "serving_default", "instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    fast = json_fast.read_predict(body, lambda name: signature("float32"))
    assert fast is not None
    assert np.array_equal(fast[1]["x"], array)


DOUBTFUL = (b"[[1],2]", b"[1[],2[]]", b"[[],[]]", b"[[1,2],[3]]", b"[1,,2]", b'["1"]', b"[[[1],2]")


@pytest.mark.parametrize("values", DOUBTFUL)
def test_fast_reader_leaves_doubt_to_the_exact_one(values: bytes) -> None:
    assert json_fast.read_predict(b'{"instances":' + values + b"}", lambda name: signature("float32")) is None


# the writer


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1 / 3, "0.333333343"), (9e6, "9e+06"), (-0.0, "-0.0"), (3, "3.0"), (123456.7, "123456.703"),
     (float("nan"), "NaN"), (float("-inf"), "-Infinity"), (3.4028235e38, "3.40282347e+38"), (1e-5, "1e-05")],
)  # fmt: skip
def test_floats_are_written_as_printf_does(value: float, text: str) -> None:
    assert float_texts(np.array([value], np.float32)) == [text]
    assert float_texts(np.array([value, 0.5], np.float32)) == [text, "0.5"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_floats_read_back_the_same(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert np.array_equal(np.array([float(text) for text in float_texts(array)], np.float32), array)


def test_dump_stops_at_the_first_token_behind_256_bytes() -> None:
    text = dump([b"a" * 100] * 10)
    assert text == "[" + ", ".join(['"' + "a" * 100 + '"'] * 3)
    assert dump([math.nan, 1]) == "["


def test_strings_are_escaped_as_rapidjson_does() -> None:
    assert quote(b'a"\\/\n\x01\xff') == b'"a\\"\\\\/\\n\\u0001\xff"'


@pytest.mark.parametrize("shape", [(0,), (2,), (2, 0), (2, 3), (1, 2, 2)])
def test_answers_are_json_of_the_tensor(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    assert json.loads(predictions({"y": array})) == {"predictions": array.tolist()}
    assert json.loads(columns({"y": array})) == {"outputs": array.tolist()}
    rows = [{"a": row, "b": row} for row in array.tolist()]
    assert json.loads(predictions({"a": array, "b": array})) == {"predictions": rows}
    assert json.loads(columns({"a": array, "b": array})) == {"outputs": {"a": array.tolist(), "b": array.tolist()}}
