"""The one table of status codes, held against grpcio's."""

from __future__ import annotations

import grpc
import pytest

from serving.transport.grpc.status import Code, code_of_http


def test_codes_are_those_of_grpcio() -> None:
    assert {code.name: int(code) for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (404, "NOT_FOUND"), (413, "RESOURCE_EXHAUSTED"),
        (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (501, "UNIMPLEMENTED"), (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"), (418, "INTERNAL"),
    ],
)  # fmt: skip
def test_http_status_has_one_code(status: int, name: str) -> None:
    assert code_of_http(status).name == name
