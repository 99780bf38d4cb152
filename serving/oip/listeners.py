"""The listening ends of a server of our own: REST and gRPC over the same models, with TLS, token and access log."""

from __future__ import annotations

import argparse
import asyncio
import tomllib
from typing import Any

from contract import ROOT
from serving.hosting.metrics import Metrics
from serving.hosting.model_repository import ModelRepository
from serving.oip import grpc as oip_grpc
from serving.oip import rest as oip_rest
from serving.process.sockets import bound_socket
from serving.transport.access import log_call, log_request, tls_context
from serving.transport.grpc import health as rpc_health
from serving.transport.grpc import server as rpc_server
from serving.transport.http1 import server as http
from serving.transport.limits import Limits


class Listeners:
    """The two listening ends of one process."""

    def __init__(self, rest: http.HttpServer, rpc: rpc_server.RpcServer) -> None:
        self._rest = rest
        self._rpc = rpc

    @classmethod
    async def open(cls, name: str, options: argparse.Namespace, metrics: Metrics, models: ModelRepository) -> Listeners:
        """Listen on both ports."""
        shared = options.workers > 1
        limits = Limits(
            body_bytes=options.max_body_bytes,
            header_timeout_s=options.header_timeout_s,
            silence_timeout_s=options.silence_timeout_s,
            least_rate=options.least_rate,
            idle_timeout_s=options.idle_timeout_s,
        )
        rest = await http.serve(
            oip_rest.RestApi(models, metrics, name, _version(), options.max_body_bytes),
            [bound_socket(options.host, options.rest_port, shared=shared)],
            limits,
            errors=oip_rest.Errors(),
            tls=tls_context(options.tls_cert, options.tls_key),
            token=options.token,
            public=(oip_rest.LIVE, oip_rest.READY),
            log=log_request if options.access_log else None,
        )
        rpc = await rpc_server.serve(
            oip_grpc.GrpcApi(models, name, _version()).methods(),
            [bound_socket(options.host, options.grpc_port, shared=shared)],
            limits,
            to_error=oip_grpc.to_rpc_error,
            tls=tls_context(options.tls_cert, options.tls_key),
            token=options.token,
            public=(rpc_health.PATH,),
            log=log_call if options.access_log else None,
            connection_age_s=options.connection_age_s,
        )
        return cls(rest, rpc)

    async def drain(self, timeout_s: float, grace_s: float) -> None:
        """Answer what is in flight over both, then close."""
        await asyncio.gather(self._rest.drain(timeout_s, grace_s), self._rpc.drain(timeout_s, grace_s))


def _version() -> str:
    """The project's version, installed or run from its checkout."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])
