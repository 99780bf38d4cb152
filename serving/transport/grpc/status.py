"""The status codes of gRPC and the HTTP statuses that mean the same: the one table of this project.

Sources: `statuscodes.md` of github.com/grpc/grpc/doc for the codes; for HTTP `google/rpc/code.proto`, which TensorFlow
Serving's `http_server.cc` follows too.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The status codes; `http` is the HTTP status of the same meaning."""

    http: int

    def __new__(cls, value: int, http: int = 0) -> Code:
        code = int.__new__(cls, value)
        code._value_ = value
        code.http = http
        return code

    OK = 0, 200
    CANCELLED = 1, 499
    UNKNOWN = 2, 500
    INVALID_ARGUMENT = 3, 400
    DEADLINE_EXCEEDED = 4, 504
    NOT_FOUND = 5, 404
    ALREADY_EXISTS = 6, 409
    PERMISSION_DENIED = 7, 403
    RESOURCE_EXHAUSTED = 8, 429
    FAILED_PRECONDITION = 9, 400
    ABORTED = 10, 409
    OUT_OF_RANGE = 11, 400
    UNIMPLEMENTED = 12, 501
    INTERNAL = 13, 500
    UNAVAILABLE = 14, 503
    DATA_LOSS = 15, 500
    UNAUTHENTICATED = 16, 401


_OF_HTTP = {400: Code.INVALID_ARGUMENT, 409: Code.ALREADY_EXISTS, 413: Code.RESOURCE_EXHAUSTED, 500: Code.INTERNAL}
"""Where several codes have one HTTP status, or none has."""


def code_of_http(status: int) -> Code:
    """The code of an HTTP status: INTERNAL where none means the same."""
    return _OF_HTTP.get(status) or next((code for code in Code if code.http == status), Code.INTERNAL)


class RpcError(Exception):
    """An answer that is an error: its code, and words for the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
