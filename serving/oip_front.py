"""The listening ends of a server of our own: REST and gRPC over the same models, with TLS, token and access log."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
import tomllib
from typing import Any

from contract import ROOT, StageError
from serving import http, oip_grpc, oip_rest, rpc_health, rpc_server
from serving.hosting import Models
from serving.http import Request, Response
from serving.listening import bound_socket
from serving.metrics import Metrics
from serving.rpc import Call


class Front:
    """The two listening ends of one process."""

    def __init__(self, rest: http.HttpServer, rpc: rpc_server.RpcServer) -> None:
        self._rest = rest
        self._rpc = rpc

    @classmethod
    async def open(cls, name: str, options: argparse.Namespace, metrics: Metrics, models: Models) -> Front:
        """Listen on both ports."""
        shared = options.workers > 1
        rest = await http.serve(
            oip_rest.RestApi(models, metrics, name, _version(), options.max_body_bytes),
            [bound_socket(options.host, options.rest_port, shared=shared)],
            http.Limits(body_bytes=options.max_body_bytes),
            failed=oip_rest.refuse,
            tls=_tls_context(options),
            token=options.token,
            public=(oip_rest.LIVE, oip_rest.READY),
            log=_log_access if options.access_log else None,
        )
        rpc = await rpc_server.serve(
            oip_grpc.GrpcApi(models, name, _version()).methods(),
            [bound_socket(options.host, options.grpc_port, shared=shared)],
            http.Limits(body_bytes=options.max_body_bytes),
            failed=oip_grpc.refuse,
            tls=_tls_context(options),
            token=options.token,
            public=(rpc_health.PATH,),
            log=_log_call if options.access_log else None,
            connection_age_s=options.connection_age_s,
        )
        return cls(rest, rpc)

    async def drain(self, timeout_s: float, grace_s: float) -> None:
        """Answer what is in flight over both, then close."""
        await asyncio.gather(self._rest.drain(timeout_s, grace_s), self._rpc.drain(timeout_s, grace_s))


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except ssl.SSLError as error:
        raise StageError(f"{options.tls_cert} and {options.tls_key} are no certificate and key: {error}") from None
    return context


def _version() -> str:
    """The project's version, installed or run from its checkout."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def _log_access(request: Request | None, response: Response) -> None:
    """Write one JSON line: time, request line, status, bytes, milliseconds."""
    line: dict[str, Any] = {"time": time.time(), "status": response.status, "response_bytes": len(response.body)}
    if request is not None:
        line |= {"method": request.method, "target": request.target, "request_bytes": len(request.body)}
        line["ms"] = round((time.perf_counter() - request.arrival_s) * 1e3, 3)
    print(json.dumps(line), flush=True)


def _log_call(call: Call, code: int, size: int) -> None:
    """Write one JSON line for a gRPC call: time, method, status code, bytes, milliseconds."""
    line = {"time": time.time(), "method": call.path, "grpc_status": int(code), "response_bytes": size}
    line["ms"] = round((time.perf_counter() - call.arrival_s) * 1e3, 3)
    print(json.dumps(line), flush=True)
