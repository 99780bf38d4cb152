"""The listening ends of a server of our own: REST and gRPC over the same models, with TLS, token and access log."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
import tomllib
from typing import Any

import grpc

from contract import ROOT, StageError
from serving import http, oip_grpc, oip_rest
from serving.hosting import Models
from serving.http import Request, Response
from serving.listening import bound_socket
from serving.metrics import Metrics


class Front:
    """The two listening ends of one process."""

    def __init__(self, rest: http.HttpServer, rpc: grpc.aio.Server) -> None:
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
        api = oip_grpc.GrpcApi(models, name, _version())
        rpc = oip_grpc.make_server(api, options.max_body_bytes, shared, options.token, options.connection_age_s)
        _add_port(rpc, options)
        await rpc.start()
        return cls(rest, rpc)

    async def drain(self, timeout_s: float, grace_s: float) -> None:
        """Answer what is in flight over both, then close."""
        await asyncio.gather(self._rest.drain(timeout_s, grace_s), self._drain_grpc(timeout_s, grace_s))

    async def _drain_grpc(self, timeout_s: float, grace_s: float) -> None:
        await asyncio.sleep(grace_s)
        await self._rpc.stop(max(timeout_s - grace_s, 0.0))


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except ssl.SSLError as error:
        raise StageError(f"{options.tls_cert} and {options.tls_key} are no certificate and key: {error}") from None
    return context


def _add_port(grpc_server: grpc.aio.Server, options: argparse.Namespace) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if options.tls_cert is None:
            grpc_server.add_insecure_port(address)
        else:
            pair = (options.tls_key.read_bytes(), options.tls_cert.read_bytes())
            grpc_server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise StageError(f"can't listen on {address}: {error}: choose another port") from None


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
