"""What can go wrong with a request, and the words for it: the same for every protocol."""

from __future__ import annotations

MESSAGE_CHARACTERS = 1000
"""An error quotes what the client sent, which may be long; gRPC puts it into a header."""
RUNTIME_CHARACTERS = 300


class QueueFull(Exception):  # noqa: N818 - what happened to the queue
    """Too many requests wait already."""


class DeadlineExceeded(Exception):  # noqa: N818 - the name of the status
    """The request's deadline passed before its run began."""


class RequestError(Exception):
    """An answer that is an error: its HTTP status, and words for the client; gRPC maps the status to its code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]}…")
        self.status = status


def as_request_error(error: BaseException) -> RequestError:
    """Any error of an inference as the one that the client is told."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, QueueFull):
        return RequestError(503, f"the queue is full: {error}")
    if isinstance(error, DeadlineExceeded):
        return RequestError(504, str(error))
    if isinstance(error, MemoryError):
        return RequestError(500, "not enough memory for this request")
    first_line = str(error).partition("\n")[0][:RUNTIME_CHARACTERS]
    return RequestError(400, f"the model failed on this input: {type(error).__name__}: {first_line}")
