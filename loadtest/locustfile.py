"""Users for every endpoint that is running: REST JSON, binary REST and gRPC, ready-made requests, every answer checked.

Start servers with `make serve-all`, then

    locust -f loadtest/locustfile.py                                        # Locust's web page
    locust -f loadtest/locustfile.py --headless -u 8 -t 10s --endpoint onnxruntime/pytorch-onnx/grpc
    locust -f loadtest/locustfile.py --headless -u 2 -t 10s --arrivals poisson --rate 500 --processes 2

Reads `<workspace>/endpoints.json` (another file: ENDPOINTS) and the model repository; with `--raw FOLDER` writes every
request's times. `python -m loadtest.locustfile PLAN` carries out a plan of the comparison, with LOADTEST_WORKERS=N on
that many workers.
"""

from __future__ import annotations

# isort: off
import locust  # it patches the sockets, so it comes first

# isort: on
import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import locust.stats
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from contract import ENDPOINTS, StageError
from loadtest.analysis.run_metrics import summarise
from loadtest.client.target import build_target
from loadtest.generator.loops import Load
from loadtest.generator.users import EndpointUser, FreeSession, locust_report, user_class
from loadtest.raw_times import RIGHT, write_raw
from loadtest.scenarios import FOREVER_S, IN_FLIGHT_CAP, Closed, Open, Scenario
from serving.process.running_endpoints import read_running
from serving.server import Endpoint

SESSIONS: dict[str, FreeSession] = {}


def microseconds_kept(latency_ms: float) -> float:
    """Round latencies for Locust's page to three significant digits in place of its whole milliseconds."""
    return round(latency_ms, 2) if latency_ms < 10 else float(f"{latency_ms:.3g}")


def open_session(endpoint: Endpoint, environment: Environment) -> FreeSession:
    """What this process's users of `endpoint` share, made for the first of them."""
    if endpoint.name not in SESSIONS:
        choices = options(environment)
        load = Load(build_target(endpoint), report=locust_report(environment, endpoint))
        worker = max(0, getattr(environment.runner, "worker_index", 0))
        load.next_index = worker * 17  # other samples than the other processes' users
        SESSIONS[endpoint.name] = FreeSession(
            load, _scenario(choices), choices.seed, worker, choices.load_workers, choices.load_users
        )
    return SESSIONS[endpoint.name]


def options(environment: Environment) -> argparse.Namespace:
    """The command line's options, in a worker those of its master."""
    assert environment.parsed_options is not None
    parsed: argparse.Namespace = environment.parsed_options
    return parsed


def _scenario(choices: argparse.Namespace) -> Scenario:
    if choices.arrivals == "closed":
        return Closed(choices.load_users, FOREVER_S)
    return Open(choices.rate, FOREVER_S, choices.arrivals, choices.in_flight_cap)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Our flags, beside Locust's own."""
    group = parser.add_argument_group("serving comparison")
    group.add_argument("--endpoint", action="append", help="only endpoints whose name begins so; may be repeated")
    group.add_argument(
        "--arrivals",
        choices=("closed", "poisson", "constant"),
        default="closed",
        help="closed: each user waits for its answer before it sends again; else an open loop of --rate",
    )
    group.add_argument(
        "--rate", type=float, default=100.0, help="requests/s of an open loop, over all users and processes"
    )
    group.add_argument(
        "--in-flight-cap", type=int, default=IN_FLIGHT_CAP, help="an open loop ends at so many in flight"
    )
    group.add_argument("--seed", type=int, default=1, help="of the arrivals")
    group.add_argument("--raw", default="", help="folder for every request's times: one .npz an endpoint and process")
    for hidden in ("--load-users", "--load-workers"):  # filled in by the master, which sends them to the workers
        group.add_argument(hidden, type=int, default=1, help=argparse.SUPPRESS)


def choose_endpoints(environment: Environment, **_: object) -> None:
    """Keep the user classes that `--endpoint` asks for."""
    if wanted := tuple(options(environment).endpoint or ()):
        kept = [
            kind
            for kind in environment.user_classes
            if cast("type[EndpointUser]", kind).endpoint.name.startswith(wanted)
        ]
        if not kept:
            print(
                f"no running endpoint begins with {' or '.join(wanted)}: `make serve-all` starts them", file=sys.stderr
            )
            sys.exit(2)
        environment.user_classes[:] = kept


def share_the_load(environment: Environment, **_: object) -> None:
    """Tell every process how many users there are, so that an open loop's rate is shared among them."""
    SESSIONS.clear()
    runner = environment.runner
    if isinstance(runner, (LocalRunner, MasterRunner)):
        options(environment).load_users = max(1, runner.target_user_count or 1)
        options(environment).load_workers = max(1, runner.worker_count)


def keep_raw_times(environment: Environment, **_: object) -> None:
    """Write the raw times where `--raw` says, and print exact percentiles."""
    for name, session in sorted(SESSIONS.items()):
        table = session.load.recorder.table(0)
        if raw := options(environment).raw:
            write_raw(Path(raw) / f"{name.replace('/', '__')}-{session.worker}.npz", table)
        latency_ms = ((table["done_us"] - table["intended_us"]) / 1e3)[table["outcome"] == RIGHT]
        figures = "  ".join(f"{key} {value:.3f}" for key, value in summarise(latency_ms).items() if value is not None)
        void = "  VOID: the in-flight cap was reached" if session.load.recorder.capped else ""
        print(f"{name}: {len(latency_ms)} right of {len(table['outcome'])}, ms from the intended send: {figures}{void}")


def add_users() -> None:
    """Define a user class for every running endpoint in this module, where Locust looks for them."""
    for endpoint in read_running(Path(os.environ.get("ENDPOINTS", ENDPOINTS))):
        users = user_class(endpoint, partial(open_session, endpoint))
        globals()[users.__name__] = users
    hooks: Any = events  # Locust leaves them without types
    hooks.init_command_line_parser.add_listener(add_arguments)
    hooks.init.add_listener(choose_endpoints)
    hooks.test_start.add_listener(share_the_load)
    hooks.test_stop.add_listener(keep_raw_times)
    locust.stats.bucket_response_time = microseconds_kept  # type: ignore[assignment]


def main() -> int:
    """Carry out a plan as soon as it is there, here or on the workers that LOADTEST_WORKERS announces."""
    from loadtest.generator.cluster import run_cluster
    from loadtest.generator.runner import run_plan

    plan, workers = Path(sys.argv[1]), int(os.environ.get("LOADTEST_WORKERS", "0"))
    parent = os.getppid()
    while not plan.is_file():
        if os.getppid() != parent:
            return 1  # who was to write it is gone
        time.sleep(0.02)
    return run_cluster(plan, workers) if workers else run_plan(plan)


if __name__ == "__main__":
    sys.exit(main())

try:
    add_users()
except StageError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
