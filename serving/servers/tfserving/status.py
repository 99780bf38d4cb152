"""The one error of the embedded server: a status code with a message, as TensorFlow Serving has them."""

from __future__ import annotations

from serving.transport.grpc.status import Code

NAMES = {int(code): code.name for code in Code}
GRPC_MESSAGE_BYTES = 1024
"""gRPC error texts are cut there; HTTP ones are not."""


class Status(Exception):  # noqa: N818 - the name that the protocol uses
    """A refusal: `code` is the name of a `Code`; `message` may hold undecodable bytes as surrogate escapes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """As `Status::ToString` writes it inside other messages."""
        return f"{self.code}: {self.message}"

    @property
    def http(self) -> int:
        """The HTTP status."""
        return Code[self.code].http

    @property
    def number(self) -> int:
        """The gRPC status number."""
        return int(Code[self.code])

    @property
    def grpc_message(self) -> str:
        """The message as gRPC carries it: valid Unicode, cut after 1024 bytes."""
        encoded = self.message.encode("utf-8", "surrogateescape")
        if len(encoded) <= GRPC_MESSAGE_BYTES:
            return encoded.decode("utf-8", "replace")
        return encoded[:GRPC_MESSAGE_BYTES].decode("utf-8", "replace") + "...TRUNCATED"


def invalid(message: str) -> Status:
    """An INVALID_ARGUMENT."""
    return Status("INVALID_ARGUMENT", message)


def from_tensorflow(error: Exception) -> Status:
    """The status in an exception of TensorFlow's runtime; anything else is INTERNAL and names its type alone."""
    number = getattr(error, "error_code", None)
    if number not in NAMES:
        return Status("INTERNAL", f"internal error ({type(error).__name__})")
    return Status(NAMES[number], str(getattr(error, "message", "")))
