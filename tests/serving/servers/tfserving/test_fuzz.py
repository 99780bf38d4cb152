"""No input gives an internal error, ends the process, or gets no answer.

Lean in the suite; `FUZZ_EXAMPLES=50000 pytest tests/serving/servers/tfserving/test_fuzz.py` is the long run.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.protos import message

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "250"))
SHORT = "FUZZ_EXAMPLES" not in os.environ
LONG = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=SHORT)
ANSWERS = {200, 400, 404, 408, 411, 413, 414, 417, 429, 431, 499, 501, 503, 504, 505}
MODELS = ("half_plus_two", "two", "multi", "types", "cls", "odd", "nope", "a%2Fb", "%zz", "\u00e9", "")
SIGNATURES = (
    "serving_default", "one_in_two_out", "scalar_out", "mixed_batch", "boom", "reg", "total", "regress_x_to_y", "nope",
    "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string", "bytes",
    "complex64", "classify_x_to_y", "scores_only", "__saved_model_init_op",
)  # fmt: skip
statuses: Counter[Any] = Counter()

leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=6).map(lambda b: {"b64": b.hex()})
)
nested = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
image = st.integers(0, 3).flatmap(
    lambda rank: st.lists(st.integers(0, 6), min_size=rank, max_size=rank + 2).map(lambda shape: filled(shape))
)
names = st.sampled_from(["x", "a", "b", "m", "inputs", "image", "b64"])
tensor = nested | image | st.dictionaries(names, nested, max_size=3)
examples = st.lists(st.dictionaries(st.sampled_from(["x", "x2", "q"]), nested, max_size=2), max_size=3)
document = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(SIGNATURES) | leaf,
        "instances": tensor | st.lists(tensor, max_size=3),
        "inputs": tensor,
        "examples": examples | nested,
        "context": st.dictionaries(st.sampled_from(["x", "x2"]), nested, max_size=2),
    },
)


def filled(shape: list[int]) -> Any:
    value: Any = 1.0
    for size in reversed(shape):
        value = [value] * size
    return value


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """JSON, with some bytes cut, doubled or replaced."""
    body = json.dumps(draw(document)).encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        body = draw(
            st.sampled_from([body[:at], body[:at] + body[at + 1 :], body[:at] * 2])
            | st.binary(max_size=3).map(lambda inserted, at=at, body=body: body[:at] + inserted + body[at:])
        )
    return body


floats = st.lists(st.floats(width=32) | st.integers(-9, 9), min_size=1, max_size=5)
sane = st.one_of(
    st.tuples(st.sampled_from(["half_plus_two", "two", "types"]), floats.map(lambda v: {"instances": v})),
    st.tuples(st.just("types"), floats.map(lambda v: {"signature_name": "float64", "inputs": v})),
    st.tuples(st.just("types"), st.lists(st.text()).map(lambda v: {"signature_name": "string", "inputs": v})),
    st.tuples(st.just("multi"), floats.map(lambda v: {"signature_name": "one_in_two_out", "instances": [v, v]})),
    st.tuples(st.just("odd"), st.integers(1, 3).map(lambda n: {"instances": filled([n, 5, 5, 1])})),
    st.tuples(st.just("odd"), floats.map(lambda v: {"signature_name": "total", "inputs": v})),
).map(lambda pair: (pair[0], json.dumps(pair[1]).encode()))
"""Requests that are right: a model and a body."""
odd_versions = ["/versions/1", "/versions/123", "/labels/stable", "/versions/x", "/versions/" + "9" * 30]
versions = st.sampled_from([""] * 6 + odd_versions)
verbs = st.sampled_from([":predict"] * 8 + [":classify", ":regress", "/metadata", "", ":PREDICT", "?a=b"])
methods = st.sampled_from(["POST"] * 6 + ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "FOO"])
bodies = mutated() | mutated() | st.binary(max_size=200)


@st.composite
def rest_request(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 2)) == 0:
        model, body = draw(sane)
        first = f"POST /v1/models/{model}:predict HTTP/1.1\r\n"
    else:
        body = draw(bodies)
        target = f"/v1/models/{draw(st.sampled_from(MODELS))}{draw(versions)}{draw(verbs)}"
        first = f"{draw(methods)} {target} HTTP/1.1\r\n"
    headers = b"Host: t\r\n"
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.sampled_from([body, gzip.compress(body), gzip.compress(body)[:-4]]))
        headers += b"Content-Encoding: gzip\r\n"
    if draw(st.integers(0, 9)) == 0:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        headers += b"Transfer-Encoding: chunked\r\n"
    else:
        headers += b"Content-Length: %d\r\n" % len(body)
    return first.encode() + headers + b"\r\n" + body


class Line:
    """A connection that is opened again where the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        for _ in range(2):
            fresh = self._socket is None
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            try:
                self._socket.sendall(request)
                with http.client.HTTPResponse(self._socket, method=request.split(b" ", 1)[0].decode()) as response:
                    response.begin()
                    response.read()
                    if response.will_close:
                        self.close()
                    return response.status
            except (ConnectionError, http.client.RemoteDisconnected):
                self.close()
                assert not fresh, "closed without an answer"
        raise AssertionError("closed without an answer")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def memory_mb(embedded: Any) -> int:
    """The server's resident memory."""
    return int(psutil.Process(embedded.process.pid).memory_info().rss // 10**6)


@pytest.fixture(scope="module")
def line(embedded: Any) -> Iterator[Line]:
    line = Line(embedded.rest)
    before = memory_mb(embedded)
    yield line
    line.close()
    memory = f"MB {before} before, {memory_mb(embedded)} after"
    print(f"\nfuzz: {sum(statuses.values())} requests: {dict(statuses)}; {memory}")


@LONG
@given(request=rest_request())
def test_rest_answers_every_request(line: Line, request: bytes) -> None:
    status = line.ask(request)
    statuses[status] += 1
    assert status in ANSWERS


@settings(LONG, max_examples=max(20, EXAMPLES // 10))
@given(data=st.binary(min_size=1, max_size=300))
def test_rest_survives_any_bytes(embedded: Any, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", embedded.rest), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert embedded.process.poll() is None


def sane_predict(model: str, alias: str, values: list[float], shape: list[int]) -> bytes:
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = model
    proto = request.inputs[alias]
    proto.dtype = 1
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    proto.float_val.extend(values)
    encoded: bytes = request.SerializeToString()
    return encoded


sane_calls = st.one_of(
    floats.map(lambda v: sane_predict("half_plus_two", "x", v, [len(v)])),
    floats.map(lambda v: sane_predict("types", "x", v, [1, len(v), 1])),
    floats.map(lambda v: sane_predict("odd", "image", v, [len(v), 5, 5, 1])),
)


@st.composite
def predict_bytes(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 2)) == 0:
        return draw(sane_calls)
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = draw(st.sampled_from(["half_plus_two", "multi", "types", "odd", "nope", ""]))
    request.model_spec.signature_name = draw(st.sampled_from(["", *SIGNATURES]))
    for alias in draw(st.lists(st.sampled_from(["x", "a", "b", "m", "image", "x_bytes"]), max_size=2)):
        proto = request.inputs[alias]
        proto.dtype = draw(st.integers(0, 25))
        for _ in range(draw(st.integers(0, 5))):
            proto.tensor_shape.dim.add().size = draw(st.sampled_from([-1, 0, 1, 2, 3, 5, 28, 2**31, 2**62]))
        proto.tensor_content = draw(st.binary(max_size=40))
        proto.float_val.extend(draw(st.lists(st.floats(width=32), max_size=3)))
        proto.int_val.extend(draw(st.lists(st.integers(-5, 5), max_size=2)))
        proto.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=2)))
    encoded: bytes = request.SerializeToString()
    at = draw(st.integers(0, len(encoded)))
    return draw(st.sampled_from([encoded, encoded, encoded[:at], encoded[:at] + b"\xff" + encoded[at:]]))


@pytest.fixture(scope="module")
def predict(embedded: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{embedded.grpc}") as channel:
        path = "/tensorflow.serving.PredictionService/"
        yield {
            name: channel.unary_unary(path + name, request_serializer=bytes, response_deserializer=bytes)
            for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
        }


RPCS = st.sampled_from(["Predict"] * 8 + ["Classify", "Regress", "MultiInference", "GetModelMetadata"])


@LONG
@given(body=predict_bytes(), rpc=RPCS)
def test_grpc_answers_every_request(predict: Any, body: bytes, rpc: str) -> None:
    try:
        predict[rpc](body, timeout=30)
        code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        code = error.code()
    statuses[code.name] += 1
    assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
    assert code is not grpc.StatusCode.DEADLINE_EXCEEDED
