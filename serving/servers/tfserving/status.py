"""The one error of the embedded server: a status code with a message, as TensorFlow Serving has them."""

from __future__ import annotations

# absl/status/status.h: the code's name to its gRPC number and to its HTTP status (http_server.cc of TensorFlow Serving)
CODES: dict[str, tuple[int, int]] = {
    "OK": (0, 200),
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
NAMES = {number: name for name, (number, _) in CODES.items()}
GRPC_MESSAGE_BYTES = 1024
"""gRPC error texts are cut there; HTTP ones are not."""


class Status(Exception):  # noqa: N818 - the name that the protocol uses
    """A refusal: `code` is a name of `CODES`; `message` may hold undecodable bytes as surrogate escapes."""

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
        return CODES[self.code][1]

    @property
    def number(self) -> int:
        """The gRPC status number."""
        return CODES[self.code][0]

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
