"""`grpc.health.v1.Health`: whether a service is being served, asked once or watched.

Its messages have the bytes of StringValue and Int32Value, one field of that type. Source: `health.proto` of
github.com/grpc/grpc-proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from serving.transport.grpc.call import Call, Method, Send
from serving.transport.grpc.status import Code, RpcError

PATH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
WATCH_S = 0.5


def health_methods(state: Callable[[str], bool | None]) -> dict[str, Method]:
    """Check and Watch; `state` says whether a service is being served, None of one that isn't known."""

    def status(service: str) -> int:
        serving = state(service)
        return SERVICE_UNKNOWN if serving is None else SERVING if serving else NOT_SERVING

    def check(message: bytes, call: Call) -> bytes:  # noqa: ARG001 - a Method's
        service = _service(message)
        if (code := status(service)) == SERVICE_UNKNOWN:
            raise RpcError(Code.NOT_FOUND, f"unknown service {service[:100]!r}")
        return bytes(Int32Value(value=code).SerializeToString())

    async def watch(message: bytes, call: Call, send: Send) -> None:  # noqa: ARG001
        service, last = _service(message), None
        while True:
            if (code := status(service)) != last:
                send(Int32Value(value=code).SerializeToString())
                last = code
            await asyncio.sleep(WATCH_S)

    return {f"{PATH}Check": Method(check), f"{PATH}Watch": Method(stream=watch)}


def _service(message: bytes) -> str:
    try:
        return StringValue.FromString(message).value
    except DecodeError:
        raise RpcError(Code.INVALID_ARGUMENT, "the request is not a HealthCheckRequest") from None
