"""The listening ends of a server of our own: REST and gRPC over the same models, with TLS, token and access log."""

from __future__ import annotations

import argparse
import asyncio
import tomllib
from typing import Any

import grpc

from contract import ROOT, StageError
from serving import http, oip_grpc, oip_rest
from serving.access import grpc_credentials, log_request, tls_context
from serving.farewell import Farewell
from serving.hosting import Models
from serving.listening import bound_socket
from serving.metrics import Metrics


class Front:
    """The two listening ends of one process."""

    def __init__(self, rest: http.HttpServer, rpc: grpc.aio.Server, farewell: Farewell) -> None:
        self._rest = rest
        self._rpc = rpc
        self._farewell = farewell

    @classmethod
    async def open(cls, name: str, options: argparse.Namespace, metrics: Metrics, models: Models) -> Front:
        """Listen on both ports."""
        shared = options.workers > 1
        rest = await http.serve(
            oip_rest.RestApi(models, metrics, name, _version(), options.max_body_bytes),
            [bound_socket(options.host, options.rest_port, shared=shared)],
            http.Limits(body_bytes=options.max_body_bytes),
            failed=oip_rest.refuse,
            tls=tls_context(options.tls_cert, options.tls_key),
            token=options.token,
            public=(oip_rest.LIVE, oip_rest.READY),
            log=log_request if options.access_log else None,
        )
        api = oip_grpc.GrpcApi(models, name, _version())
        rpc = oip_grpc.make_server(
            api, options.max_body_bytes, shared, options.token, options.connection_age_s, options.access_log
        )
        _add_port(rpc, options)
        await rpc.start()
        return cls(rest, rpc, api.farewell)

    async def drain(self, timeout_s: float, grace_s: float) -> None:
        """Answer what is in flight over both, then close."""
        await asyncio.gather(self._rest.drain(timeout_s, grace_s), self._farewell.stop(self._rpc, timeout_s, grace_s))


def _add_port(grpc_server: grpc.aio.Server, options: argparse.Namespace) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if options.tls_cert is None:
            grpc_server.add_insecure_port(address)
        else:
            grpc_server.add_secure_port(address, grpc_credentials(options.tls_cert, options.tls_key))
    except RuntimeError as error:
        raise StageError(f"can't listen on {address}: {error}: choose another port") from None


def _version() -> str:
    """The project's version, installed or run from its checkout."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])
