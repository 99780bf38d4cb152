"""The client is measured first: each protocol's client against a null server, which answers at once with a constant.

What it finds, per protocol: the ceiling in requests per second, the latency floor, and the lag behind an open schedule.
The requests are the largest that the comparison sends over the protocol, the check of the answer runs as in a real run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from contract import MODEL_REPOSITORY, ROOT, StageError, to_json, write_whole
from loadtest.analysis.facts import Client
from loadtest.analysis.result import Result
from loadtest.plan import EndpointPlan, FixedResponse, Run
from loadtest.runs.generator_process import run_generator
from loadtest.scenarios import Closed, Open
from serving.process.launcher import Running, start
from serving.repository import read_artifacts, read_samples
from serving.server import Call, Endpoint, Launch, find_server

ANSWER_BYTES = 300
"""Size of the constant answer: that of ten probabilities as JSON."""

WARM_UP_S = 0.3


@contextmanager
def null_server(
    folder: Path, protocol: str, answer: bytes, cpus: Collection[int] | None, options: tuple[str, ...] = ()
) -> Iterator[tuple[Running, int]]:
    """Run a null server for the block: the process, and its port."""
    body, log = folder / f"null-{protocol}.answer", folder / f"null-{protocol}.log"
    write_whole(body, answer)
    log.unlink(missing_ok=True)
    argv = (sys.executable, "-m", "loadtest.runs.null_server", "--protocol", protocol, "--answer", str(body), *options)
    running = start(Launch(argv, {}, ROOT), log=log, cpus=cpus)
    try:
        yield running, _announced_port(running)
    finally:
        running.stop()


def calibrate(
    folder: Path,
    endpoints: list[Endpoint],
    seconds: float,
    rate_rps: float,
    server_cpus: Collection[int] | None,
    client_cpus: Collection[int] | None,
    repository: Path = MODEL_REPOSITORY,
) -> list[Client]:
    """Measure the client of every protocol among `endpoints`: written to `folder/clients.json` as well."""
    largest = {
        protocol: _largest_call([e for e in endpoints if e.protocol == protocol], repository)
        for protocol in sorted({endpoint.protocol for endpoint in endpoints})
    }
    answer = (b'{"outputs": "' + b"0" * ANSWER_BYTES)[:ANSWER_BYTES]
    scenarios = (Closed(1, seconds), Closed(8, seconds), Closed(32, seconds), Open(rate_rps, seconds))
    with ExitStack() as stack:
        plans = []
        for protocol, call in largest.items():
            running, port = stack.enter_context(null_server(folder, protocol, answer, server_cpus))
            runs = tuple(Run(s, 1, 1, str(folder / "null" / protocol / f"{s.name}-1")) for s in scenarios)
            endpoint = Endpoint("null", protocol, protocol, port)
            plans.append(EndpointPlan(endpoint, runs, running.pid, WARM_UP_S, fixed=FixedResponse(call, answer)))
        run_generator(folder, plans, client_cpus, repository)
    clients = [_client(plan, len(largest[plan.endpoint.protocol].body)) for plan in plans]
    write_whole(folder / "clients.json", to_json([asdict(client) for client in clients]).encode())
    return clients


def _client(plan: EndpointPlan, request_bytes: int) -> Client:
    protocol, results = plan.endpoint.protocol, [Result.read(Path(f"{run.path}.json")) for run in plan.runs]
    single, *closed, scheduled = results
    if any(result.failures or result.wrong_answers or result.preflight_error for result in results):
        raise StageError(
            f"the null server for {protocol} did not answer every request: see its log, then run `make loadtest`"
        )
    return Client(
        protocol=protocol,
        ceiling_rps=max(result.throughput_rps for result in closed),
        floor_p50_ms=single.latency_ms["p50"] or 0.0,
        floor_p99_ms=single.latency_ms["p99"],
        schedule_lag_p99_ms=scheduled.schedule_lag_ms["p99"] if scheduled.schedule_lag_ms else None,
        request_bytes=request_bytes,
        null_server_cpu_share=max((result.server.cpu_s or 0.0) / result.elapsed_s for result in closed),
        client_cpu_share=max(result.client.cpu_share for result in closed),
    )


def _largest_call(endpoints: list[Endpoint], repository: Path) -> Call:
    manifests, sample = read_artifacts(repository), read_samples(repository).take([0])
    calls = [find_server(e.server).encode(e.protocol, e.artifact, manifests[e.artifact], sample) for e in endpoints]
    return max(calls, key=lambda call: len(call.body))


def _announced_port(running: Running, timeout_s: float = 20.0) -> int:
    while time.perf_counter() - running.started_s < timeout_s and running.exit_status is None:
        text = running.log.read_text() if running.log.is_file() else ""
        for line in text.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                return int(json.loads(line)["port"])
        time.sleep(0.01)
    raise StageError(f"the null server did not start:\n{running.last_lines()}")
