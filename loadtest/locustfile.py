"""Users for every endpoint that is running: REST JSON, binary REST and gRPC, ready-made requests, every answer checked.

Start servers with `make serve-all`, then

    locust -f loadtest/locustfile.py                                        # Locust's web page
    locust -f loadtest/locustfile.py --headless -u 8 -t 10s --endpoint onnxruntime/pytorch-onnx/grpc
    locust -f loadtest/locustfile.py --headless -u 2 -t 10s --arrivals poisson --rate 500 --processes 2

Reads `artifacts/endpoints.json` (another file: ENDPOINTS) and the model repository; with `--raw FOLDER` writes every request's times.
`python -m loadtest.locustfile PLAN` carries out a plan of the comparison.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# `locust -f` puts this folder first, where our statistics.py would hide Python's
_OTHERS = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "loadtest"]
sys.path[:] = [str(ROOT), *_OTHERS, str(ROOT)]  # Locust takes the first one away again

import locust  # noqa: E402, I001: patches the sockets, so it comes first

import os  # noqa: E402

import locust.stats  # noqa: E402
from locust import events  # noqa: E402
from locust.argument_parser import LocustArgumentParser  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.runners import LocalRunner, MasterRunner  # noqa: E402

from contract import StageError  # noqa: E402
from loadtest.drive import Load  # noqa: E402
from loadtest.recorder import RIGHT, write_raw  # noqa: E402
from loadtest.result import summarise  # noqa: E402
from loadtest.scenarios import FOREVER_S, Closed, Open, Scenario  # noqa: E402
from loadtest.target import build_target  # noqa: E402
from loadtest.users import Session, locust_report, user_class  # noqa: E402
from serving.server import Endpoint  # noqa: E402
from serving.up import ENDPOINTS, read_running  # noqa: E402

SESSIONS: dict[str, Session] = {}


def microseconds_kept(latency_ms: float) -> float:
    """Round latencies for Locust's page to three significant digits in place of its whole milliseconds."""
    return round(latency_ms, 2) if latency_ms < 10 else float(f"{latency_ms:.3g}")


locust.stats.bucket_response_time = microseconds_kept  # type: ignore[assignment]


def open_session(endpoint: Endpoint, environment: Environment) -> Session:
    """What this process's users of `endpoint` share, made for the first of them."""
    if endpoint.name not in SESSIONS:
        options = environment.parsed_options
        load = Load(build_target(endpoint), report=locust_report(environment, endpoint))
        runner = environment.runner
        session = Session(load, _scenario(environment), options.seed, max(0, getattr(runner, "worker_index", 0)))
        session.workers, session.shares = options.load_workers, options.load_users
        session.go.set()
        SESSIONS[endpoint.name] = session
    return SESSIONS[endpoint.name]


def _scenario(environment: Environment) -> Scenario:
    options = environment.parsed_options
    if options.arrivals == "closed":
        return Closed(max(2, options.load_users), FOREVER_S)
    return Open(options.rate, FOREVER_S, options.arrivals, options.in_flight_cap)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Our flags, beside Locust's own."""
    group = parser.add_argument_group("serving comparison")
    group.add_argument("--endpoint", action="append", help="only this endpoint, or all whose name begins so; may be repeated")
    group.add_argument("--arrivals", choices=("closed", "poisson", "constant"), default="closed", help="closed: each user waits for its answer; else an open loop of --rate")
    group.add_argument("--rate", type=float, default=100.0, help="requests per second of an open loop, over all users and processes")
    group.add_argument("--in-flight-cap", type=int, default=512, help="an open loop with so many requests in flight ends, void")
    group.add_argument("--seed", type=int, default=1, help="of the arrivals")
    group.add_argument("--raw", default="", help="folder for every request's times, one .npz an endpoint and process")
    for hidden in ("--load-users", "--load-workers"):  # filled in by the master, sent to the workers
        group.add_argument(hidden, type=int, default=1, include_in_web_ui=False, help="==SUPPRESS==")


@events.init.add_listener
def choose_endpoints(environment: Environment, **_: object) -> None:
    """Keep the user classes that `--endpoint` asks for."""
    wanted = environment.parsed_options.endpoint if environment.parsed_options else None
    if wanted:
        kept = [chosen for chosen in environment.user_classes if chosen.endpoint.name.startswith(tuple(wanted))]
        if not kept:
            print(f"no running endpoint begins with {' or '.join(wanted)}: `make serve-all` starts them", file=sys.stderr)
            sys.exit(2)
        environment.user_classes[:] = kept


@events.test_start.add_listener
def share_the_load(environment: Environment, **_: object) -> None:
    """Tell every process how many users there are, so that an open loop's rate is shared among them."""
    SESSIONS.clear()
    runner = environment.runner
    if isinstance(runner, (LocalRunner, MasterRunner)) and environment.parsed_options:
        environment.parsed_options.load_users = max(1, runner.target_user_count or 1)
        environment.parsed_options.load_workers = max(1, runner.worker_count)


@events.test_stop.add_listener
def keep_raw_times(environment: Environment, **_: object) -> None:
    """Write the raw times where `--raw` says, and print exact percentiles."""
    raw = environment.parsed_options.raw if environment.parsed_options else ""
    for name, session in sorted(SESSIONS.items()):
        table = session.load.recorder.table(0)
        if raw:
            write_raw(Path(raw) / f"{name.replace('/', '__')}-{session.worker}.npz", table)
        latency_ms = ((table["done_us"] - table["intended_us"]) / 1e3)[table["outcome"] == RIGHT]
        figures = "  ".join(f"{key} {value:.3f}" for key, value in summarise(latency_ms).items() if value is not None)
        void = "  VOID: the in-flight cap was reached" if session.load.recorder.capped else ""
        print(f"{name}: {len(latency_ms)} right of {len(table['outcome'])}, ms from the intended send: {figures}{void}")


def main() -> int:
    """Carry out a plan."""
    from loadtest.visits import carry_out

    return carry_out(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())

try:
    for _endpoint in read_running(Path(os.environ.get("ENDPOINTS", ENDPOINTS))):
        _class = user_class(_endpoint, lambda environment, endpoint=_endpoint: open_session(endpoint, environment))
        globals()[_class.__name__] = _class
except StageError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
