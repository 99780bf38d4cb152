"""How fast our own servers are, beside others that serve the same model and beside what the machine could do.

Reads the model repository; writes `docs/benchmarks/servers.{json,md}` and prints the tables. One pinned core for the
server, another for the load; one thread; every answer checked. In every round each server is started anew and those
that are compared take turns; figures are medians over the rounds. An interrupted run writes nothing.

    python -m loadtest bench [--systems ours,ceiling,…] [--seconds 1.2] [--rounds 3]
    python -m loadtest bench --against FOLDER    # our servers beside those of another checkout; writes nothing
    python -m loadtest bench --table             # Markdown from the result that is there
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract import ROOT, StageError, shown, to_json, write_whole
from loadtest.bench.against import OURS, elsewhere, ratios
from loadtest.bench.measure import WARM_UP_S, Point, begin, cores, measure
from loadtest.bench.system import System
from loadtest.bench.systems import IDLE_CONNECTIONS, VERSIONS, systems
from loadtest.bench.table import page, tables
from loadtest.bench.thresholds import GENUINE_BATCH_32_US, GENUINE_REQUESTS_PER_S, judge
from loadtest.runs.environment import environment
from loadtest.runs.generator_process import run_to_end
from loadtest.runs.independent_clients import is_installed
from serving.repository import Samples, read_samples

RESULT = ROOT / "docs" / "benchmarks" / "servers.json"
TOGETHER = (
    ("ours", "ceiling", "uvicorn"),
    ("grpc-echo", "grpclib-echo", "grpclib"),
    ("ours-1-worker", "ours-2-workers", f"ours-{VERSIONS}-versions", f"ours-{IDLE_CONNECTIONS}-idle"),
    ("tfserving", "tfserving-batching"),
)
"""Which systems are up at the same time; each other one is alone, since idle processes would disturb."""
IN_PROCESS = {"ours": "pytorch-onnx", "tfserving": "tensorflow-savedmodel"}
"""The artifact that is run without a server beside a group, by the group's first system."""
FIGURES = ("requests_per_s", "p50_ms", "p99_ms", "server_cpu_us_per_request", "rss_bytes")
NOTE = (
    "Generator `own` looks into every answer; `wrk` counts statuses only. `changing`: every request has a traceparent, "
    "a request id and a body of its own. Server on the first core, load on the last; ours-2-workers has both cores, so "
    "that the load takes a share of what it measures."
)


class Result:
    """What the rounds have measured so far."""

    def __init__(self) -> None:
        self.runs: dict[Point, list[dict[str, Any]]] = {}
        self.in_process: dict[str, list[list[dict[str, Any]]]] = {}
        self.missing: dict[str, str] = {}

    def drop(self, group: list[System], reason: str) -> None:
        """Forget systems that could not be measured in every round, and say why."""
        names = {system.name for system in group}
        self.runs = {point: runs for point, runs in self.runs.items() if point.name not in names}
        self.missing |= dict.fromkeys(sorted(names), reason)

    def rows(self, ordered: Mapping[str, System]) -> list[dict[str, Any]]:
        """The medians over the rounds, and the rounds, in the order of `ordered`."""
        order = list(ordered)
        key = lambda p: (order.index(p.name), p.payload, p.generator, p.traffic, p.connections)  # noqa: E731
        return [summary(point, self.runs[point], ordered[point.name]) for point in sorted(self.runs, key=key)]

    def in_process_rows(self) -> list[dict[str, Any]]:
        """Each runtime alone, by batch size."""
        rows = []
        for rounds in self.in_process.values():
            for same in zip(*rounds, strict=True):
                times_ms = [row["latency_p50_ms"] for row in same]
                median_ms = statistics.median(times_ms)
                row = {"artifact": same[0]["artifact"], "batch_size": same[0]["batch_size"]}
                rate = row["batch_size"] / median_ms * 1e3
                rows.append({**row, "latency_p50_ms": median_ms, "samples_per_s": rate, "rounds_ms": times_ms})
        return rows


def summary(point: Point, runs: list[dict[str, Any]], system: System) -> dict[str, Any]:
    """One row of the result."""
    own = point.generator == "own"
    return {
        "name": point.name,
        "payload": point.payload,
        "connections": point.connections,
        "generator": point.generator,
        "traffic": point.traffic,
        "artifact": system.artifact,
        "batching": system.batching,
        **{figure: round(statistics.median(run[figure] for run in runs), 4) for figure in FIGURES},
        "requests": sum(run["requests"] for run in runs),
        "failures": sum(run["failures"] for run in runs),
        "wrong_answers": sum(run["wrong_answers"] for run in runs) if system.checked and own else None,
        "generator_share": max(run["generator_share"] for run in runs) if own else None,
        "rounds": [{figure: round(run[figure], 4) for figure in FIGURES} for run in runs],
    }


def groups(names: Iterable[str], known: Mapping[str, System]) -> list[list[System]]:
    """Which systems are measured at the same time; raises StageError for an unknown name."""
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StageError(f"no system {unknown[0]!r}: choose from {', '.join(known)}")
    grouped = {name for group in TOGETHER for name in group}
    all_groups = [*TOGETHER, *((name,) for name in known if name not in grouped)]
    chosen = [[known[name] for name in group if name in names] for group in all_groups]
    return [group for group in chosen if group]


def run_group(group: list[System], samples: Samples, number: int, seconds: float, result: Result) -> None:
    """One round of systems against each other: all are up and take turns, block by block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = []
        for system in group:
            started.append(begin(system, samples, folder / system.name))
            stack.callback(started[-1].stop)
        figures = measure(started[:: -1 if number % 2 else 1], seconds, folder)
        if artifact := IN_PROCESS.get(group[0].name):
            argv = (sys.executable, "-m", "loadtest.runs.in_process", artifact)
            output = run_to_end(argv, folder / "in_process.log", cores()[0], 120)
            result.in_process.setdefault(artifact, []).append(json.loads(output.splitlines()[-1]))
    for point, row in figures.items():
        result.runs.setdefault(point, []).append(row)


def run_rounds(chosen: list[list[System]], rounds: int, seconds: float) -> Result:
    """Measure every group in every round; a group that fails is dropped, and the result says why."""
    samples, result, remaining = read_samples(), Result(), list(chosen)
    with tqdm(total=rounds * len(chosen), file=sys.stderr) as progress:
        for number in range(rounds):
            for group in list(remaining):
                progress.set_description(", ".join(system.name for system in group))
                try:
                    run_group(group, samples, number, seconds, result)
                except StageError as error:
                    progress.write(str(error), file=sys.stderr)
                    result.drop(group, str(error))
                    remaining.remove(group)
                progress.update()
    return result


def describe(result: Result, known: Mapping[str, System], rounds: int, seconds: float) -> dict[str, Any]:
    """What is written."""
    rows, in_process = result.rows(known), result.in_process_rows()
    genuine = {"requests_per_s": GENUINE_REQUESTS_PER_S, "in_process_batch_32_us": GENUINE_BATCH_32_US}
    return {
        "systems": rows,
        "thresholds": judge(rows, in_process),
        "environment": environment(*cores()),
        "genuine_tensorflow_serving_2.20.0": genuine,
        "in_process": in_process,
        "missing": result.missing,
        "note": NOTE,
        "rounds": rounds,
        "seconds": seconds,
        "warm_up_s": WARM_UP_S,
        "wrk": is_installed("wrk"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest bench", description=__doc__)
    parser.add_argument("--systems", default="", help="names with commas; all without")
    parser.add_argument("--seconds", type=float, default=1.2, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, with its artifacts")
    parser.add_argument("--table", action="store_true", help="print the Markdown of the result that is there")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.table:
            print(tables(_read(options.output)))
            return 0
        known = systems()
        names = options.systems.split(",") if options.systems else list(OURS if options.against else known)
        if options.against:
            return _compare_checkouts(groups(names, known), options.against, options.rounds, options.seconds)
        result = describe(run_rounds(groups(names, known), options.rounds, options.seconds), known, options.rounds,
                          options.seconds)  # fmt: skip
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    write_whole(options.output, to_json(result).encode())
    write_whole(options.output.with_suffix(".md"), page(result).encode())
    print(tables(result))
    return 0


def _compare_checkouts(chosen: list[list[System]], folder: Path, rounds: int, seconds: float) -> int:
    pairs = [[system, elsewhere(system, folder)] for group in chosen for system in group]
    result = run_rounds(pairs, rounds, seconds)
    known = {system.name: system for pair in pairs for system in pair}
    print(ratios(result.rows(known), [(here.name, there.name) for here, there in pairs]))
    return 2 if result.missing else 0


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StageError(f"no {shown(path)}: run `make bench-servers`")
    result: dict[str, Any] = json.loads(path.read_bytes())
    if "systems" not in result:
        raise StageError(f"{shown(path)} is of an older version: run `make bench-servers`")
    return result


if __name__ == "__main__":
    sys.exit(main())
