"""A plan carried out by Locust workers: the master says what to run, gathers the raw times, writes the results.

`loadtest.locustfile PLAN` comes here where LOADTEST_WORKERS says for how many workers to wait; a worker is
`python -m loadtest.generator.cluster MASTER_HOST`. Each worker's clock starts with its
orders: no two clocks are compared.
"""

from __future__ import annotations  # noqa: I001

import locust  # noqa: F401 -- patches the sockets, so it comes first

import io
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.runners import MasterRunner

from contract import MODEL_REPOSITORY, StageError
from loadtest.generator.resources import between
from loadtest.generator.runner import (
    WARM_UP_USERS,
    PreflightError,
    batch_of,
    identity,
    preflight,
    run_once,
    run_plan,
    write_result,
)
from loadtest.plan import Run, EndpointPlan, read_plan
from loadtest.raw_times import write_raw
from loadtest.analysis.run_metrics import measured
from loadtest.scenarios import Closed, Scenario, from_fields, to_fields
from loadtest.generator.partition import joined, part_of
from loadtest.client.target import Target, build_target
from serving.server import Endpoint

PORT = 5557
CONNECT_S = 300.0
SPARE_S = 60.0
"""What a run may take beyond its seconds before a worker counts as lost."""


def run_cluster(path: Path, workers: int) -> int:
    """Make all runs of the plan on `workers` workers; returns 1 where an endpoint failed its pre-flight, else 0."""
    _, plans = read_plan(path)
    if any(plan.fixed for plan in plans):  # the null server runs beside the master: so does its client
        return run_plan(path)
    master = Environment().create_master_runner("*", PORT)
    answers: Queue[Any] = Queue()
    master.register_message("measured", lambda msg, **_: answers.put((msg.node_id, msg.data)))
    failed = 0
    try:
        _wait_for_workers(master, workers)
        for plan in plans:
            failed |= _measure_endpoint(master, answers, plan)
    finally:
        master.quit()
    return failed


def _wait_for_workers(master: MasterRunner, workers: int) -> None:
    deadline_s = time.monotonic() + CONNECT_S
    while len(master.clients.ready) < workers:
        if time.monotonic() > deadline_s:
            raise StageError(f"{len(master.clients.ready)} of {workers} workers came within {CONNECT_S:.0f} s")
        gevent.sleep(0.1)


def _measure_endpoint(master: MasterRunner, answers: Queue[Any], plan: EndpointPlan) -> int:
    if plan.warm_up_s:
        _measure(master, answers, plan.endpoint, Closed(WARM_UP_USERS, plan.warm_up_s), 0)
    for run in plan.runs:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        parts = _measure(master, answers, plan.endpoint, run.scenario, run.seed)
        faults = [part["fault"] for part in parts if part["fault"]]
        if faults:
            print(f"{plan.endpoint.name}: {faults[0]}", file=sys.stderr, flush=True)
            for missed in plan.runs:
                fields = {**plan.context, **identity(plan, missed), "preflight_error": faults[0]}
                write_result(missed, fields)
            return 1
        write_result(run, {"started": started, **_result(plan, run, parts)})
    return 0


def _measure(
    master: MasterRunner, answers: Queue[Any], endpoint: Endpoint, scenario: Scenario, seed: int
) -> list[dict[str, Any]]:
    """Let every worker do its share at once: what each measured."""
    clients = sorted(client.id for client in master.clients.ready)
    awaited = set()
    for worker, client in enumerate(clients):
        share = part_of(scenario, worker, len(clients))
        if share is not None:
            order = {"endpoint": vars(endpoint), "scenario": to_fields(share), "seed": seed}
            master.send_message("measure", {**order, "worker": worker, "workers": len(clients)}, client)
            awaited.add(client)
    parts, limit_s = [], scenario.seconds + SPARE_S
    while awaited:
        try:
            client, part = answers.get(timeout=limit_s)
        except Empty:
            late = ", ".join(sorted(awaited))
            raise StageError(f"{endpoint.name}: no result from {late} in {limit_s:.0f} s") from None
        awaited.discard(client)
        parts.append(part)
    return parts


def _result(plan: EndpointPlan, run: Run, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One result in the form of `loadtest.generator.runner`, from what the workers sent."""
    tables = []
    for part in parts:
        with np.load(io.BytesIO(part["table"])) as file:
            tables.append({name: file[name] for name in file.files})
    table = joined(tables)
    write_raw(Path(run.path + ".npz"), table)
    figures = measured(run.scenario, table, plan.target_ms)
    answered = max(1, figures["requests"] - figures["failures"])
    return {
        **plan.context,
        **identity(plan, run),
        **figures,
        "explanations": [text for part in parts for text in part["explanations"]],
        "capped": any(part["capped"] for part in parts),
        **{key: parts[0][key] for key in ("batch", "samples_sha256", "request_bytes", "request_wire_bytes")},
        "response_bytes": sum(part["response_bytes"] for part in parts) / answered,
        "server": between(None, None),
        "client": {
            "cpu_s": sum(part["cpu_s"] for part in parts),
            "cpu_share": max(part["cpu_s"] / part["elapsed_s"] for part in parts),
            "workers": len(parts),
        },
    }


class Worker:
    """Does what the master asks, one run at a time, in a Locust environment of its own."""

    def __init__(self, repository: Path = MODEL_REPOSITORY) -> None:
        self.repository = repository
        self.local = Environment()
        self.local.create_local_runner()
        self.targets: dict[tuple[str, int], Target] = {}

    def measure(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one order; a failed pre-flight is an answer too."""
        scenario = from_fields(order["scenario"])
        try:
            target = self._target(Endpoint(**order["endpoint"]), batch_of(scenario))
            cpu_s, began_s = time.process_time(), time.perf_counter()
            recorder, load, start_ns = run_once(
                self.local, target, scenario, order["seed"], order["worker"], order["workers"]
            )
            cpu_s, elapsed_s = time.process_time() - cpu_s, time.perf_counter() - began_s
        except (PreflightError, OSError, StageError) as error:
            return {"fault": str(error) or repr(error)}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **recorder.table(start_ns))
        return {
            "fault": "",
            "table": file.getvalue(),
            "explanations": recorder.explanations,
            "capped": recorder.capped,
            "response_bytes": load.response_bytes,
            "batch": target.batch,
            "samples_sha256": target.samples_sha256,
            "request_bytes": target.request_bytes,
            "request_wire_bytes": target.wire_bytes,
            "cpu_s": cpu_s,
            "elapsed_s": elapsed_s,
        }

    def _target(self, endpoint: Endpoint, batch: int) -> Target:
        if (endpoint.name, batch) not in self.targets:
            target = build_target(endpoint, self.repository, batch)
            preflight(target)
            self.targets[endpoint.name, batch] = target
        return self.targets[endpoint.name, batch]


def work(master_host: str) -> None:
    """Serve one master until it says to quit."""
    worker = Worker()
    runner = Environment().create_worker_runner(master_host, PORT)

    def on_order(msg: Any, **_: object) -> None:
        runner.send_message("measured", worker.measure(msg.data))

    runner.register_message("measure", on_order, concurrent=True)
    runner.greenlet.join()


if __name__ == "__main__":
    work(sys.argv[1])
