"""Random and damaged requests over REST and gRPC: no crash, no hang, no 500, and the neighbours keep their answers.

Short in the suite; `FUZZ_REQUESTS=100000 pytest tests/serving/oip/test_fuzz.py -s` is the long run, with figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections import Counter
from typing import Any

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract import DATATYPES
from serving import protos

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1500"))
"""In all, over the three ways in."""
MUTANTS = 9
"""Damaged copies sent after each request that hypothesis makes: they cost less to make."""
PATIENCE_S = 20.0
ALLOWED_HTTP = {200, 400, 404, 405, 408, 413, 415, 417, 431, 501, 503, 504, 505}
REFUSING = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
SEEN: Counter[str] = Counter()

Request = protos.message("inference.ModelInferRequest")
MODELS = ["double", "add", "fixed", "every", "nope", ""]
NAMES = ["x_FP32", "left", "right", "x_BYTES", "y_FP32", "", "\u0000", "é"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just(1e300)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, -1, 2**31, 2**63]), max_size=4) | st.just([1, 4])
numbers = st.lists(st.floats(-10, 10) | st.integers(-9, 300), max_size=9)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(NAMES) | anything,
        "datatype": st.sampled_from([*DATATYPES, "FP31"]) | anything,
        "shape": shapes | anything,
        "data": st.just([1, 2, 3, 4]) | numbers | st.lists(numbers, max_size=4) | anything,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-2, 40) | anything}) | anything,
    },
)
GOOD = {"name": "x_FP32", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
good_tensor = st.just(GOOD)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(good_tensor, min_size=1, max_size=1) | st.lists(tensors | good_tensor, max_size=3) | anything},
    optional={
        "id": st.text(max_size=5) | anything,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(NAMES) | anything}), max_size=3) | anything,
        "parameters": st.dictionaries(
            st.sampled_from(["timeout", "binary_data_output", "server_timing", "x"]), anything, max_size=3
        )
        | anything,
    },
)


@st.composite
def http_requests(draw: st.DrawFn) -> bytes:
    """A request to some address with some body and headers, perhaps cut or damaged."""
    body = draw(st.one_of(documents.map(lambda d: json.dumps(d).encode()), st.binary(max_size=200), st.just(b"")))
    tail = draw(st.just(b"") | st.binary(max_size=40))
    headers = [b"Host: t", b"Content-Length: %d" % len(body + tail)]
    if draw(st.booleans()):
        length = draw(st.just(str(len(body))) | st.integers(-5, 300).map(str) | st.just("x"))
        headers.append(b"Inference-Header-Content-Length: " + length.encode())
    headers += draw(
        st.lists(
            st.sampled_from(
                [
                    b"Content-Encoding: gzip",
                    b"Content-Type: text/html",
                    b"Content-Type: application/json; charset=utf-8",
                    b"Transfer-Encoding: chunked",
                    b"Expect: 100-continue",
                    b"Connection: upgrade\r\nUpgrade: h2c",
                    b"X-Server-Timing: 1",
                ]
            ),
            max_size=2,
        )
    )
    verb = draw(st.sampled_from([b"POST"] * 8 + [b"GET", b"PUT", b"HEAD", b"BREW"]))
    model = draw(st.sampled_from(MODELS)).encode()
    if draw(st.booleans()):
        model = b"double"
    path = draw(
        st.sampled_from([b"/v2/models/%s/infer"] * 6 + [b"/v2/models/%s/versions/1/infer", b"/v2/models/%s", b"/%s"])
    )
    whole = verb + b" " + path % model + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body + tail
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(st.binary(max_size=6)) + whole[at + draw(st.integers(0, 4)) :]
    return whole


@st.composite
def grpc_messages(draw: st.DrawFn) -> bytes:
    """A ModelInferRequest with anything in its fields, perhaps damaged."""
    message = Request(model_name=draw(st.just("double") | st.sampled_from(MODELS)), id=draw(st.text(max_size=4)))
    message.model_version = draw(st.sampled_from(["", "1", "2", "x"]))
    if draw(st.booleans()):
        message.inputs.add(name="x_FP32", datatype="FP32", shape=[1, 4])
        message.raw_input_contents.append(draw(st.binary(min_size=16, max_size=16)))
        return bytes(message.SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        name, datatype = draw(st.sampled_from(NAMES)), draw(st.sampled_from([*DATATYPES, "Q"]))
        tensor = message.inputs.add(name=name, datatype=datatype)
        tensor.shape.extend(draw(st.just([1, 4]) | st.lists(st.sampled_from([0, 1, 2, 4, -1, 2**40]), max_size=4)))
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=6)))
    message.raw_input_contents.extend(draw(st.lists(st.just(b"\0" * 16) | st.binary(max_size=40), max_size=3)))
    if draw(st.booleans()):
        message.outputs.add(name=draw(st.sampled_from(NAMES)))
    data: bytes = message.SerializeToString()
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 3)) :]
    return data


def with_mutants(data: bytes, seed: int) -> list[bytes]:
    """The bytes, and copies with some of them flipped, cut out, repeated or replaced."""
    generator = random.Random(seed)
    copies = [data]
    for _ in range(MUTANTS):
        mutant = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            start = generator.randrange(len(mutant) + 1)
            end = min(len(mutant), start + generator.choice([0, 1, 1, 2, 8, 40]))
            parts = [b"", generator.randbytes(end - start), bytes(mutant[start:end]) * 2, b"9", b'"', b"\0"]
            mutant[start:end] = generator.choice(parts)
        copies.append(bytes(mutant))
    return copies


def fuzz(share: float) -> Any:
    """Settings for a share of the requests."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    examples = max(1, int(REQUESTS * share / (1 + MUTANTS)))
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=quiet)


def memory_mb(oip: Any) -> int:
    """The server's resident memory."""
    return int(psutil.Process(oip.running.pid).memory_info().rss // 10**6)


@pytest.fixture(scope="module")
def neighbour(oip: Any) -> Any:
    """A client whose right requests must be answered rightly all the while."""
    body = json.dumps({"inputs": [GOOD]}).encode()
    client = socket.create_connection(("127.0.0.1", oip.rest), timeout=PATIENCE_S)
    request = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def check() -> None:
        client.sendall(request)
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b'"data":[2.0,4.0,6.0,8.0]' in answer

    check()  # a connection that says nothing is closed
    before = memory_mb(oip)
    yield check
    client.close()
    memory = f"MB {before} before, {memory_mb(oip)} after"
    print(f"\nfuzz: {sum(SEEN.values())} requests: {dict(sorted(SEEN.items()))}; {memory}")


def exchange(port: int, whole: bytes) -> bytes:
    """Send the bytes and no more, read to the end of what comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        try:
            client.sendall(whole)
            client.settimeout(0.02)
            answer = b""
            with contextlib.suppress(TimeoutError):
                answer = client.recv(65536)
            client.settimeout(PATIENCE_S)
            client.shutdown(socket.SHUT_WR)
            return answer + b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionError:
            return b""


@fuzz(0.45)
@given(whole=http_requests(), seed=st.integers(0, 2**32))
def test_rest_survives_anything(oip: Any, neighbour: Any, whole: bytes, seed: int) -> None:
    for data in with_mutants(whole, seed):
        answer = exchange(oip.rest, data)
        statuses = {int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()} - {100}
        SEEN.update(f"http {status}" for status in statuses or {"without answer"})
        assert statuses <= ALLOWED_HTTP, (data, answer)
        if len(statuses) == 1 and statuses != {200} and b"HEAD" not in data:
            assert b'{"error":' in answer
    neighbour()


@fuzz(0.15)
@given(document=documents, seed=st.integers(0, 2**32))
def test_rest_documents_are_answered(oip: Any, neighbour: Any, document: Any, seed: int) -> None:
    head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    for body in with_mutants(json.dumps(document).encode(), seed):
        with socket.create_connection(("127.0.0.1", oip.rest), timeout=PATIENCE_S) as client:
            client.sendall(head % len(body) + body)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        SEEN[f"http {answer[9:12].decode()}"] += 1
        assert int(answer[9:12]) in (200, 400, 504), (body, answer)
    neighbour()


@pytest.fixture(scope="module")
def infer(oip: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{oip.grpc}") as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


@fuzz(0.4)
@given(message=grpc_messages(), seed=st.integers(0, 2**32))
def test_grpc_survives_anything(infer: Any, neighbour: Any, message: bytes, seed: int) -> None:
    for data in with_mutants(message, seed):
        try:
            infer(data, timeout=PATIENCE_S)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name if error.details() else "no details"
        SEEN[f"grpc {code}"] += 1
        assert code in REFUSING, (data, code)
    neighbour()


def test_server_is_as_it_was(oip: Any, neighbour: Any) -> None:
    neighbour()
    assert oip.running.exit_status is None
    log = oip.running.log.read_text()
    assert "Traceback" not in log, log[-3000:]
