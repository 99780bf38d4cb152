"""The program behind `python -m serving.servers.tfserving`: flags, loading, ports, polling, shutdown.

Ports open when every model has a version in service, as the genuine ones do. SIGTERM and SIGINT: no new connections,
what is in flight is answered, status 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import tempfile
from pathlib import Path

from contract import StageError
from serving.hosting.model_version import Retries
from serving.process.sockets import bound_socket, bound_unix_socket
from serving.servers.tfserving.api.grpc import GrpcApi, refuse
from serving.servers.tfserving.api.inference import Inference
from serving.servers.tfserving.api.rest import RestApi
from serving.servers.tfserving.api.warmup import warm_up
from serving.servers.tfserving.config_files import read_batching, read_metrics_path, read_text
from serving.servers.tfserving.flags import Flags, session_threads
from serving.servers.tfserving.metrics import Telemetry
from serving.servers.tfserving.model.model_configs import ModelConfig, read_config_file
from serving.servers.tfserving.model.servable import Servable, load_servable
from serving.servers.tfserving.model.session import SessionSettings, quiet_tensorflow
from serving.servers.tfserving.model.versions import Library, log
from serving.servers.tfserving.status import Status
from serving.transport.access import log_call, log_request, tls_context
from serving.transport.grpc import server as rpc_server
from serving.transport.grpc.health import PATH as HEALTH_PATH
from serving.transport.grpc.health import health_methods
from serving.transport.grpc.server import RpcServer
from serving.transport.http1.server import HttpServer, serve
from serving.transport.limits import Limits

HEALTH_NAMES = ("", "ModelService", "PredictionService")
HEADER_BYTES = 1 << 20
"""The genuine server has no limit; this one is far above what a client needs."""


class Program:
    """One running server."""

    def __init__(self, flags: Flags, telemetry: Telemetry, parent: int) -> None:
        """Serve as `flags` say; `parent` is the process whose end ends a worker."""
        self._flags = flags
        self._telemetry = telemetry
        self._parent = parent
        intra, inter = session_threads(flags)
        self._session = SessionSettings(intra, inter, tuple(flags.saved_model_tags.split(",")))
        self._batching = read_batching(flags.batching_parameters_file) if flags.enable_batching else None
        self._metrics_path = read_metrics_path(flags.monitoring_config_file)
        retries = Retries(flags.max_num_load_retries, flags.load_retry_interval_micros * 1e-6)
        unavailable_labels = flags.allow_version_labels_for_unavailable_models
        self._library = Library(self._load, retries, flags.num_load_threads, unavailable_labels)
        self._reloading = asyncio.Lock()
        self._serving = True
        self._servers: list[HttpServer | RpcServer] = []

    async def run(self) -> None:
        """Serve until a signal; raises StageError or Status where the start fails."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        rest_socket, rpc_sockets = self._bind_rest(), self._bind_grpc()
        try:
            async with asyncio.TaskGroup() as group:
                works = (self._start(rest_socket, rpc_sockets), self._poll(), self._watch_config())
                tasks = [group.create_task(work) for work in works]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        except* (Status, StageError) as errors:
            raise errors.exceptions[0] from None
        await self._drain()

    async def _start(self, rest_socket: socket.socket | None, rpc_sockets: list[socket.socket]) -> None:
        """Open the ports when every configured model has a version; raises StageError or Status where one can't."""
        quiet_tensorflow()
        self._library.configure(self._configs())
        self._library.poll()
        if reasons := await self._library.settle():
            raise next(iter(reasons.values()))
        if rest_socket is not None:
            self._servers.append(await self._open_rest(rest_socket))
        self._servers.append(await self._open_grpc(rpc_sockets))
        log(f"tfserving is ready on {self._flags.host}: REST {self._flags.rest_api_port}, gRPC {self._flags.port}")

    async def _drain(self) -> None:
        """Not ready from now on; answer what is in flight and what comes within the grace, then close."""
        self._library.close()
        self._serving = False
        ends = (server.drain(self._flags.drain_seconds, self._flags.grace_seconds) for server in self._servers)
        await asyncio.gather(*ends)

    # models

    def _load(self, name: str, version: int, folder: Path) -> Servable:
        """Load a version; called in a thread."""
        iterations = self._flags.num_request_iterations_for_warmup

        def warm(servable: Servable, folder: Path) -> None:
            if self._flags.enable_model_warmup:
                warm_up(servable, folder, iterations)

        telemetry = self._telemetry if self._batching is not None else None
        return load_servable(name, version, folder, self._session, self._batching, telemetry, warm, log=log)

    def _configs(self) -> list[ModelConfig]:
        flags = self._flags
        if flags.model_config_file:
            return read_config_file(Path(flags.model_config_file))
        return [ModelConfig(flags.model_name, Path(flags.model_base_path))]

    async def _poll(self) -> None:
        wait_s = self._flags.file_system_poll_wait_seconds
        while wait_s > 0:
            await asyncio.sleep(wait_s)
            self._library.poll()
            if self._flags.workers > 1 and os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)  # the supervisor was killed: nobody would end this worker

    async def _watch_config(self) -> None:
        """Read --model_config_file again and again, where that is wanted."""
        wait_s, path = self._flags.model_config_file_poll_wait_seconds, Path(self._flags.model_config_file)
        while wait_s > 0 and self._flags.model_config_file:
            await asyncio.sleep(wait_s)
            try:
                self._library.configure(read_config_file(path))
                self._library.poll()
            except (StageError, Status) as error:
                log(f"the models stay as they are: {error}")

    async def reload(self, configs: list[ModelConfig]) -> None:
        """Serve other models; returns when they are in service, raises Status where one can't be."""
        if self._flags.workers > 1:
            remedy = "change --model_config_file and run with --model_config_file_poll_wait_seconds"
            raise Status("UNIMPLEMENTED", f"a reload would reach one worker of several: {remedy}")
        async with self._reloading:
            self._library.configure(configs)
            for config in configs:
                if not config.base_path.is_dir():
                    where = f"{{{{{{name: {config.name}}} due to error: no folder {config.base_path}}}, }}"
                    raise Status("UNKNOWN", f"1 servable(s) did not become available: {where}")
            self._library.poll()
            if reasons := await self._library.settle():
                raise next(iter(reasons.values()))

    # ports

    def _bind_rest(self) -> socket.socket | None:
        flags = self._flags
        if not flags.rest_api_port:
            return None
        if flags.rest_api_port == flags.port:
            log(f"--rest_api_port={flags.rest_api_port} is the port of gRPC: REST is left out")
            return None
        return bound_socket(flags.host, flags.rest_api_port, shared=flags.workers > 1)

    def _bind_grpc(self) -> list[socket.socket]:
        flags = self._flags
        bound = [bound_socket(flags.host, flags.port, shared=flags.workers > 1)] if flags.port else []
        return [*bound, *([bound_unix_socket(flags.grpc_socket_path)] if flags.grpc_socket_path else [])]

    async def _open_rest(self, bound: socket.socket) -> HttpServer:
        flags = self._flags
        api = RestApi(
            self._library,
            Inference(self._telemetry),
            flags.rest_api_timeout_in_ms * 1e-3,
            self._metrics_path,
            flags.rest_api_enable_cors_support,
        )

        return await serve(
            api.handle,
            [bound],
            limits_of(flags),
            errors=api,
            tls=self._tls(),
            token=flags.token or None,
            log=log_request if flags.access_log else None,
        )

    def _tls(self) -> ssl.SSLContext | None:
        flags = self._flags
        return tls_context(Path(flags.tls_cert), Path(flags.tls_key)) if flags.tls_cert else None

    async def _open_grpc(self, sockets: list[socket.socket]) -> RpcServer:
        flags = self._flags
        as_content = flags.enable_serialization_as_tensor_content
        methods = GrpcApi(self._library, Inference(self._telemetry), self.reload, as_content).methods()
        if flags.enable_grpc_healthcheck_service:
            methods |= health_methods(lambda name: self._serving if name in HEALTH_NAMES else None)
        return await rpc_server.serve(
            methods,
            sockets,
            limits_of(flags),
            to_error=refuse,
            tls=configured_tls(Path(flags.ssl_config_file)) if flags.ssl_config_file else self._tls(),
            token=flags.token or None,
            public=(HEALTH_PATH,),
            log=log_call if flags.access_log else None,
        )


def limits_of(flags: Flags) -> Limits:
    """What one client may use, over REST and over gRPC."""
    return Limits(
        body_bytes=flags.max_body_bytes,
        header_bytes=HEADER_BYTES,
        header_timeout_s=flags.header_timeout_seconds,
        silence_timeout_s=flags.silence_timeout_seconds,
        least_rate=flags.least_rate,
        idle_timeout_s=flags.idle_timeout_seconds,
    )


def configured_tls(path: Path) -> ssl.SSLContext:
    """TLS for gRPC as an `SSLConfig` says; keys and certificates are PEM texts inside it."""
    config = read_text(path, "SSLConfig")
    with tempfile.TemporaryDirectory() as folder:  # for its owner's eyes; the ssl module reads files only
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        key.write_text(config.server_key)
        certificate.write_text(config.server_cert)
        context = tls_context(certificate, key)
    assert context is not None
    if config.custom_ca:
        context.load_verify_locations(cadata=config.custom_ca)
    if config.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def run(flags: Flags, telemetry: Telemetry, parent: int) -> int:
    """Serve until a signal; returns the exit status."""
    import uvloop

    if flags.version:
        print(f"TensorFlow ModelServer: embedded\nTensorFlow Library: {quiet_tensorflow().__version__}")
        return 0

    async def serve_all() -> None:
        await Program(flags, telemetry, parent).run()

    try:
        uvloop.run(serve_all())
    except Status as error:
        print(f"Failed to start server. Error: {error}", flush=True)
        return 255 if flags.workers == 1 else 2  # 2: another worker would fail as well
    except StageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0
