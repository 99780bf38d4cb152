"""What the recordings don't show: limits, odd input, and what is better here on purpose."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import Any

import numpy as np
import pytest

PREDICT = "/v1/models/half_plus_two:predict"
ODD = "/v1/models/odd:predict"
IMAGE = np.ones((5, 5, 1)).tolist()


SHAPES = [(), (25,), (5, 5), (1, 1, 5, 5, 1), (1, 0, 5, 1), (1, 5, 5, 0), (1, 5, 5, 2), (0, 5, 5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_ends_the_process(embedded: Any, shape: tuple[int, ...]) -> None:
    status, _ = embedded.post(ODD, {"inputs": np.ones(shape).tolist()})
    assert status in (200, 400)
    assert embedded.post(ODD, {"instances": [IMAGE]}) == (200, {"predictions": [324.0]})


def test_a_wrong_rank_is_refused_in_the_kernel_s_words(embedded: Any) -> None:
    status, answer = embedded.post(ODD, {"inputs": np.ones((1, 25)).tolist()})
    assert status == 400
    assert answer["error"].startswith("convolution input must be 4-dimensional: [1,25]\n\t [[")


def test_rows_that_depend_on_each_other_run_alone(embedded: Any) -> None:
    request = (ODD, {"signature_name": "total", "instances": [2.0]})
    assert [answer["predictions"] for _, answer, _ in embedded.pipelined([request] * 12)] == [[1.0]] * 12


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b'{"instances":[1.0]}'), 200),
        ("gzip", gzip.compress(b'{"instances":[1.0]}')[:-3], 400),
        ("gzip", gzip.compress(b'{"inst') + gzip.compress(b'ances":[1.0]}'), 400),
        ("gzip", b'{"instances":[1.0]}', 400),
        ("zstd", b'{"instances":[1.0]}', 200),
    ],
)
def test_gzip_bodies(embedded: Any, encoding: str, body: bytes, status: int) -> None:
    got, answer = embedded.post(PREDICT, body, f"Content-Encoding: {encoding}\r\n")
    assert got == status
    if status == 400:
        assert answer == {"error": "JSON Parse error: The document is empty"}


def test_large_bodies_are_read_beside_others(embedded: Any) -> None:
    values = list(range(200_000))
    status, answer = embedded.post(PREDICT, {"instances": values})
    assert (status, answer["predictions"][-1]) == (200, 100001.5)


def test_a_mistake_in_the_text_comes_before_an_unknown_model(embedded: Any) -> None:
    path = "/v1/models/nope:predict"
    status, answer = embedded.post(path, b'{"instances": [1.e]}')
    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")
    assert embedded.post(path, b'{"instances": [1]}')[0] == 404


def test_large_mistakes_are_found_beside_others(embedded: Any) -> None:
    body = b'{"instances": [' + b"NaN, " * 20_000 + b"1]}"
    status, answer = embedded.post(PREDICT, body.replace(b"1]}", b"true]}"))
    assert status == 400
    assert "element: 20000 of 'instances' list" in answer["error"]


def test_head_keeps_the_connection_in_step(embedded: Any) -> None:
    raw = b"".join(b"%b /v1/models/half_plus_two HTTP/1.1\r\nHost: t\r\n\r\n" % verb for verb in (b"HEAD", b"GET"))
    with socket.create_connection(("127.0.0.1", embedded.rest), timeout=10) as connection:
        connection.sendall(raw)
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 400")
            http.client.parse_headers(stream)
            assert stream.readline().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("digits", "status"), [("9" * 5000, 400), ("0" * 5000 + "123", 200), (str(2**63), 400), (str(2**63 - 1), 404)]
)
def test_a_version_of_any_length_is_read_or_refused(embedded: Any, digits: str, status: int) -> None:
    got, body = embedded.get(f"/v1/models/half_plus_two/versions/{digits}")
    assert got == status
    if status == 400:
        assert json.loads(body)["error"] == f"Failed to convert version: {digits} to numeric."


@pytest.mark.parametrize("target", ["/v1/models/%zz", "/v1/models/\x7f"])
def test_what_is_no_uri_gets_a_page_and_a_close(embedded: Any, target: str) -> None:
    response, body = embedded.exchange(f"GET {target} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    assert (response.status, response.getheader("Connection")) == (400, "close")
    assert body.startswith(b"<HTML>")


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [{"\\ud800": 1}]}',
        b'{"signature_name": "\\ud800", "instances": [1]}',
        b'{"inputs": ["\\ud800"]}',
    ],
)
def test_half_a_surrogate_pair_is_a_mistake_of_the_client(embedded: Any, body: bytes) -> None:
    status, answer = embedded.post(PREDICT, body)
    assert status == 400
    assert "?" in answer["error"]
