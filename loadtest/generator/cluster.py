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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.runners import MasterRunner

from contract import MODEL_REPOSITORY, StageError
from loadtest.analysis.blocks import closed_throughput
from loadtest.analysis.result import Result
from loadtest.analysis.run_metrics import measured
from loadtest.client.target import Target, build_target
from loadtest.fields import read_fields
from loadtest.generator.partition import interleaved, joined, part_of
from loadtest.generator.preflight import WARM_UP_USERS, PreflightError, batch_of, preflight
from loadtest.generator.recorder import stacked
from loadtest.generator.runner import SEED_STEP, identity, run_plan
from loadtest.generator.users import ParkedUsers
from loadtest.plan import EndpointPlan, Run, read_plan
from loadtest.raw_times import RIGHT, Table, write_raw
from loadtest.scenarios import Closed, Scenario, from_fields, to_fields
from serving.server import Endpoint

PORT = 5557
CONNECT_S = 300.0
SPARE_S = 60.0
"""What a block may take beyond its seconds before a worker counts as lost."""
Part = dict[str, Any]
"""What one worker measured in one block."""


def run_cluster(path: Path, workers: int) -> int:
    """Make all runs of the plan on `workers` workers; returns 1 where an endpoint failed its pre-flight, else 0."""
    _, plans = read_plan(path)
    if any(plan.fixed for plan in plans):  # the null server runs beside the master: so does its client
        return run_plan(path)
    runner = Environment().create_master_runner("*", PORT)
    master = Master(runner)
    runner.register_message("measured", lambda msg, **_: master.parts.put((msg.node_id, msg.data)))
    try:
        _wait_for_workers(runner, workers)
        for plan in plans:
            if plan.warm_up_s:
                master.warm_up(plan)
        return _run_blocks(master, plans, path.with_suffix(".progress"))
    finally:
        runner.quit()


def _wait_for_workers(runner: MasterRunner, workers: int) -> None:
    deadline_s = time.monotonic() + CONNECT_S
    while len(runner.clients.ready) < workers:
        if time.monotonic() > deadline_s:
            raise StageError(f"{len(runner.clients.ready)} of {workers} workers came within {CONNECT_S:.0f} s")
        gevent.sleep(0.1)


def _run_blocks(master: Master, plans: Sequence[EndpointPlan], counter: Path) -> int:
    """Make the blocks of all runs, endpoint by endpoint in turn; a run that a worker can't make is left out.

    `counter` grows by a byte with each block.
    """
    blocks: dict[str, list[list[Part]]] = {}
    refused: dict[str, str] = {}
    started: dict[str, str] = {}
    seed = next((run.seed for plan in plans for run in plan.runs), 0)
    for number, index, block in interleaved([[run.blocks for run in plan.runs] for plan in plans], seed):
        plan, run = plans[number], plans[number].runs[index]
        if run.path in refused:
            continue
        started.setdefault(run.path, datetime.now(UTC).isoformat(timespec="seconds"))
        parts = master.measure(plan, run.scenario, run.seed + SEED_STEP * block, run.lead_in_s)
        if faults := [part["fault"] for part in parts if part["fault"]]:
            print(f"{plan.endpoint.name}: {faults[0]}", file=sys.stderr, flush=True)
            refused[run.path] = faults[0]
            _write(plan, run, {"preflight_error": faults[0]})
            continue
        with counter.open("ab") as file:
            file.write(b".")
        made = blocks.setdefault(run.path, [])
        made.append(parts)
        if len(made) == run.blocks:
            rate = {"warm_up_rps": master.warm_up_rps.get(plan.endpoint.name)}
            _write(plan, run, {"started": started[run.path], **rate, **_figures(plan, run, made)})
    return int(any(all(run.path in refused for run in plan.runs) for plan in plans if plan.runs))


def _write(plan: EndpointPlan, run: Run, fields: dict[str, Any]) -> None:
    read_fields(Result, {**plan.context, **identity(plan, run), **fields}).write(Path(run.path + ".json"))


class Master:
    """Lets every worker do its share of a block at once."""

    def __init__(self, runner: MasterRunner) -> None:
        """`parts` gets what the workers send."""
        self.runner = runner
        self.parts: Queue[tuple[str, Part]] = Queue()
        self.warm_up_rps: dict[str, float] = {}

    def warm_up(self, plan: EndpointPlan) -> None:
        """Put some load on, and keep what the endpoint bears."""
        scenario = Closed(WARM_UP_USERS, plan.warm_up_s)
        parts = self.measure(plan, scenario, 0)
        if not any(part["fault"] for part in parts):
            table = joined([_table(part) for part in parts])
            rate = closed_throughput(table, scenario.seconds, WARM_UP_USERS)
            self.warm_up_rps |= {plan.endpoint.name: rate} if rate else {}

    def measure(self, plan: EndpointPlan, scenario: Scenario, seed: int, lead_in_s: float = 0.0) -> list[Part]:
        """One block: what each worker measured."""
        clients = sorted(client.id for client in self.runner.clients.ready)
        closed = [run.scenario.users for run in plan.runs if isinstance(run.scenario, Closed)]
        awaited, asked_s = set(), time.perf_counter()
        for worker, client in enumerate(clients):
            share = part_of(scenario, worker, len(clients))
            if share is not None:
                order = {"endpoint": vars(plan.endpoint), "scenario": to_fields(share), "seed": seed}
                order |= {"lead_in_s": lead_in_s, "users": max([WARM_UP_USERS, *closed])}
                self.runner.send_message("measure", {**order, "worker": worker, "workers": len(clients)}, client)
                awaited.add(client)
        parts, limit_s = [], scenario.seconds + lead_in_s + SPARE_S
        while awaited:
            try:
                client, part = self.parts.get(timeout=limit_s)
            except Empty:
                late = ", ".join(sorted(awaited))
                raise StageError(f"{plan.endpoint.name}: no result from {late} in {limit_s:.0f} s") from None
            awaited.discard(client)
            parts.append({**part, "asked_s": asked_s})  # on this clock: no two machines' are compared
        return parts


def _figures(plan: EndpointPlan, run: Run, blocks: Sequence[Sequence[Part]]) -> dict[str, Any]:
    """The figures of a run in the form of `loadtest.generator.runner`, from what the workers sent."""
    tables = []
    for number, block in enumerate(blocks):
        table = joined([_table(part) for part in block])
        table["block"][:] = number
        tables.append(table)
    whole = stacked(tables)
    write_raw(Path(run.path + ".npz"), whole)
    parts = [part for block in blocks for part in block]
    right = [int((table["outcome"] == RIGHT).sum()) for table in tables]
    elapsed = [max(part["elapsed_s"] for part in block) for block in blocks]
    began = [part["asked_s"] for part, *_ in blocks]
    return {
        **measured(run.scenario, whole, len(blocks), plan.target_ms),
        "explanations": [text for part in parts for text in part["explanations"]][:5],
        "capped": any(part["capped"] for part in parts),
        **{key: parts[0][key] for key in ("batch", "samples_sha256", "request_bytes", "request_wire_bytes")},
        "response_bytes": sum(part["response_bytes"] for part in parts) / max(1, sum(right)),
        "client": {
            "cpu_s": sum(part["cpu_s"] for part in parts),
            "cpu_share": max(part["cpu_s"] / part["elapsed_s"] for part in parts),
            "workers": len(blocks[0]),
        },
        "blocks": [
            {"began_s": began_s, "elapsed_s": elapsed_s, "right_answers": answers}
            for began_s, elapsed_s, answers in zip(began, elapsed, right, strict=True)
        ],
    }


def _table(part: Part) -> Table:
    with np.load(io.BytesIO(part["table"])) as file:
        return {name: file[name] for name in file.files}


class Worker:
    """Does what the master asks, one block at a time; its users stay connected between them."""

    def __init__(self, repository: Path = MODEL_REPOSITORY) -> None:
        """Targets and users are made as they are asked for."""
        self.repository = repository
        self.targets: dict[tuple[str, int], Target] = {}
        self.users: dict[str, ParkedUsers] = {}

    def measure(self, order: Mapping[str, Any]) -> Part:
        """Carry out one order; a failed pre-flight is an answer too."""
        scenario, endpoint = from_fields(order["scenario"]), Endpoint(**order["endpoint"])
        try:
            target = self._target(endpoint, batch_of(scenario))
            users = self._users(target, order)
        except (PreflightError, OSError, StageError) as error:
            return {"fault": str(error) or repr(error)}
        cpu_s, began_s = time.process_time(), time.perf_counter()
        load, zero_ns = users.run_block(target, scenario, order["seed"], order["lead_in_s"])
        cpu_s, elapsed_s = time.process_time() - cpu_s, time.perf_counter() - began_s
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **load.recorder.table(zero_ns))
        return {
            "fault": "",
            "table": file.getvalue(),
            "explanations": load.recorder.explanations,
            "capped": load.recorder.capped,
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

    def _users(self, target: Target, order: Mapping[str, Any]) -> ParkedUsers:
        name = target.endpoint.name
        if name not in self.users:
            self.users[name] = ParkedUsers(target, order["users"], order["worker"], order["workers"])
        return self.users[name]


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
