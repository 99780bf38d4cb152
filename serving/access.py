"""Who may ask a server of our own, over what, and what is written down of it: token, TLS, access log.

All three are options that cost a request nothing where they are off. The log is one JSON line per request to stdout.
"""

from __future__ import annotations

import hmac
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from contract import StageError
from serving.http_messages import Request, Response

HEALTH = "grpc.health.v1.Health"
"""The service that needs no token."""
Continue = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS for HTTP, or None without a certificate; raises StageError where the files are no pair."""
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise StageError(f"{certificate} and {key} are no certificate and key: {error}") from None
    return context


def grpc_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """The same for gRPC."""
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


def log_request(request: Request | None, response: Response) -> None:
    """Write down an HTTP answer: time, request line, status, bytes, milliseconds; an `http.Log`."""
    line: dict[str, Any] = {"time": time.time(), "status": response.status, "response_bytes": len(response.body)}
    if request is not None:
        line |= {"method": request.method, "target": request.target, "request_bytes": len(request.body)}
        line["ms"] = round((time.perf_counter() - request.arrival_s) * 1e3, 3)
    print(json.dumps(line), flush=True)


def interceptors(token: str | None, access_log: bool) -> tuple[grpc.aio.ServerInterceptor, ...]:
    """What a gRPC server needs for these options; nothing where both are off."""
    return (*((LogInterceptor(),) if access_log else ()), *((TokenInterceptor(token),) if token else ()))


async def refuse_call(context: Any, code: grpc.StatusCode, details: str) -> None:
    """End a call with an error; the code stays readable in the context, for the log. Always raises."""
    context.set_code(code)
    await context.abort(code, details)


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without `authorization: Bearer <token>`; health checks need none."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()

        async def refuse(data: bytes, context: Any) -> None:  # noqa: ARG001 - gRPC's signature
            await refuse_call(
                context, grpc.StatusCode.UNAUTHENTICATED, "this server needs `authorization: Bearer <token>`"
            )

        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Continue, details: grpc.HandlerCallDetails) -> Any:
        """Let the call through, or answer it."""
        given = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        allowed = hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._wanted)
        if allowed or details.method.startswith(f"/{HEALTH}/"):
            return await continuation(details)
        return self._refusal


class LogInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Writes down every unary call: time, method, code, bytes, milliseconds."""

    async def intercept_service(self, continuation: Continue, details: grpc.HandlerCallDetails) -> Any:
        """Let the call through, and watch its end."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def watched(data: bytes, context: Any) -> Any:
            began_s, answer = time.perf_counter(), None
            try:
                answer = await handler.unary_unary(data, context)
                return answer
            finally:
                ended = context.code() or grpc.StatusCode.CANCELLED
                code = "OK" if answer is not None else ended.name
                size = 0 if answer is None else len(answer) if isinstance(answer, bytes) else answer.ByteSize()
                line = {"time": time.time(), "method": details.method, "code": code, "response_bytes": size}
                line |= {"request_bytes": len(data), "ms": round((time.perf_counter() - began_s) * 1e3, 3)}
                print(json.dumps(line), flush=True)

        return grpc.unary_unary_rpc_method_handler(watched, handler.request_deserializer, handler.response_serializer)
