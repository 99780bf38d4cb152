"""The program behind `python -m serving.servers.{onnxruntime,tflite}`: options, sockets, event loop, shutdown.

Reads the model repository; writes one line per event to stderr and, with --access-log, one JSON line per request to
stdout. Ends with status 0 after SIGTERM or SIGINT, 2 after a mistake in the options or the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contract import MODEL_REPOSITORY, StageError, shown
from serving.hosting.metrics import Metrics
from serving.hosting.model_metrics import FAMILIES
from serving.oip.server import OipServer
from serving.process.cpus import available_cpus
from serving.process.prefork import run_workers
from serving.process.sockets import bound_socket, check_pair
from serving.server import Settings
from serving.transport.limits import Limits

if TYPE_CHECKING:
    from serving.hosting.model_repository import ModelRepository


def main(server: OipServer, argv: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit status."""
    options = _parser(server).parse_args(argv)
    try:
        if reason := server.missing("embedded"):
            raise StageError(f"{server.name} can't start: {reason}")
        _check(options)
        metrics = Metrics(FAMILIES, options.workers)
        if options.workers == 1:
            return _work(server, options, metrics, 0)
        with tempfile.TemporaryDirectory(prefix="workers-") as control:
            options.control = Path(control)
            return run_workers(options.workers, partial(_work, server, options, metrics))
    except StageError as error:
        print(error, file=sys.stderr)
        return 2


def _parser(server: OipServer) -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(prog=f"python -m serving.servers.{server.name}", description=__doc__)
    add = partial(parser.add_argument, metavar="")
    add("--model-repository", type=Path, default=MODEL_REPOSITORY, help="folder with the artifacts")
    add("--artifact", action="append", default=[], help="an artifact to host (repeat it); all that fit without")
    add("--host", default="127.0.0.1", help="address to listen on (loopback)")
    add("--rest-port", type=int, default=server.ports["rest"])
    add("--grpc-port", type=int, default=server.ports["grpc"])
    add("--threads", type=int, default=0, help="threads of one run; 0 divides the processors among the workers")
    add("--workers", type=int, default=default.workers, help="processes on the same ports")
    add("--max-batch-size", type=int, default=default.max_batch_size, help="rows of a batch; 1: no batching")
    add("--max-queue-delay-us", type=int, default=default.max_queue_delay_us, help="longest wait for a batch to fill")
    add("--max-queue-size", type=int, default=1024, help="waiting requests per model; more are answered 503")
    add("--run-in", choices=("auto", "loop", "thread"), default="auto", help="where the model runs")
    add("--versions", type=int, default=1, help="newest versions to serve of each model; 0: all")
    add("--poll-s", type=float, default=1.0, help="seconds between looks at the repository; 0: never")
    limits = Limits()
    add("--header-timeout-s", type=float, default=limits.header_timeout_s, help="longest time for a request's headers")
    add("--silence-timeout-s", type=float, default=limits.silence_timeout_s, help="how long a transfer may stand still")
    add(
        "--least-rate",
        type=float,
        default=limits.least_rate,
        help="bytes a second that a transfer must reach; 0: any",
    )
    add("--idle-timeout-s", type=float, default=limits.idle_timeout_s, help="longest time between two REST requests")
    add("--max-body-bytes", type=int, default=64 * 2**20, help="largest request, over either protocol")
    add("--grace-s", type=float, default=0.2, help="after SIGTERM, seconds in which requests are still taken")
    add("--drain-s", type=float, default=10.0, help="after SIGTERM, the most seconds until the end")
    add("--connection-age-s", type=float, default=0.0, help="a gRPC client has to reconnect after so long; 0: never")
    add("--tls-cert", type=Path, help="certificate chain (PEM): TLS on both ports")
    add("--tls-key", type=Path, help="its private key (PEM)")
    add("--token", default=os.environ.get("SERVING_TOKEN"), help="bearer token to demand (or variable SERVING_TOKEN)")
    parser.add_argument("--access-log", action="store_true", help="one JSON line per request to stdout")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse what can't work before anything is started."""
    check_pair(options.tls_cert, options.tls_key, ("--tls-cert", "--tls-key"))
    for name in ("workers", "max_batch_size", "max_queue_size"):
        if getattr(options, name) < 1:
            raise StageError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be at least 1")
    for name in ("header_timeout_s", "silence_timeout_s", "idle_timeout_s"):
        if getattr(options, name) <= 0:
            raise StageError(f"--{name.replace('_', '-')} {getattr(options, name):g}: must be above 0")
    if options.least_rate < 0:
        raise StageError(f"--least-rate {options.least_rate:g}: must be at least 0")
    if not options.model_repository.is_dir():
        raise StageError(f"no folder {shown(options.model_repository)}: run `make export`")
    for port in (options.rest_port, options.grpc_port):
        bound_socket(options.host, port, shared=False).close()
    options.control = None
    options.threads = options.threads or max(1, available_cpus() // options.workers)


def _work(server: OipServer, options: argparse.Namespace, metrics: Metrics, worker: int) -> int:
    """One worker process, or the only one."""
    import uvloop

    metrics.use_slab(worker)
    try:
        uvloop.run(_serve(server, options, metrics))
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _serve(server: OipServer, options: argparse.Namespace, metrics: Metrics) -> None:
    from serving.hosting.model_repository import ModelRepository
    from serving.hosting.served_model import HostSettings
    from serving.oip.listeners import Listeners

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = HostSettings(
        options.threads,
        options.max_batch_size,
        options.max_queue_delay_us,
        options.max_queue_size,
        options.versions,
        options.run_in,
    )
    repository, artifacts = options.model_repository, options.artifact
    models = ModelRepository(repository, server.formats, settings, metrics, artifacts, options.control)
    if options.workers == 1:  # live at once, ready later; a worker of several takes no request before it is ready
        running = await Listeners.open(server.name, options, metrics, models)
        try:
            await _load(models, options)
        except BaseException:
            await running.drain(0.0, 0.0)
            raise
    else:
        await _load(models, options)
        running = await Listeners.open(server.name, options, metrics, models)
    models.ready = True
    where = f"{options.host}:{options.rest_port} (REST) and {options.host}:{options.grpc_port} (gRPC)"
    print(f"{server.name} is ready on {where}", file=sys.stderr, flush=True)
    poller = asyncio.ensure_future(_poll(models, options, stop))
    await stop.wait()
    models.ready = False
    poller.cancel()
    await running.drain(options.drain_s, options.grace_s)


async def _load(models: ModelRepository, options: argparse.Namespace) -> None:
    """The first look at the repository: what was asked for by name must be served."""
    await models.poll()
    await models.settle()
    problems = [f"{row['name']} {row['version']}: {row['reason']}" for row in models.index() if row["reason"]]
    for name in options.artifact:
        if not models.versions(name):
            why = "; ".join(p for p in problems if p.startswith(f"{name} ")) or "there is no such artifact"
            raise StageError(f"can't serve {name} from {shown(options.model_repository)} ({why}): run `make export`")
    for problem in problems:
        print(f"not served: {problem}", file=sys.stderr)


async def _poll(models: ModelRepository, options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Look at the repository again and again. `poll` says what it can't read; what it doesn't foresee ends nothing."""
    parent, problem = os.getppid(), ""
    while options.poll_s > 0:
        await asyncio.sleep(options.poll_s)
        if options.workers > 1 and os.getppid() != parent:
            stop.set()  # the supervisor was killed: nobody would end this worker
        try:
            await models.poll()
        except Exception as error:  # what is served goes on being served, whatever is wrong with a look
            if (text := f"can't look at the repository: {type(error).__name__}: {error}") != problem:
                print(text, file=sys.stderr, flush=True)
            problem = text
