"""How fast our own servers are, beside others that serve the same model and beside what the machine could do.

Reads the model repository; writes `docs/benchmarks/servers.{json,svg,md}` and prints the tables. One pinned
core for the server, another for the load; one thread; every answer checked. In every round each server is started anew
and those that are compared take turns; figures are medians over the rounds. An interrupted run writes nothing.

    python -m loadtest bench [--contenders ours,ceiling,…] [--seconds 1.2] [--rounds 3]
    python -m loadtest bench --table      # Markdown from the result that is there
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract import ROOT, StageError, shown, to_json, write_whole
from loadtest.bench import wrk as bench_wrk
from loadtest.bench.chart import draw
from loadtest.bench.run import WARM_UP_S, Point, begin, cores, measure
from loadtest.bench.systems import IDLE_CONNECTIONS, VERSIONS, Contender, contenders
from loadtest.bench.table import page, tables
from loadtest.bench.thresholds import GENUINE_BATCH_32_US, GENUINE_REQUESTS_PER_S, judge
from loadtest.runs.environment import environment
from loadtest.runs.generator_process import run_to_end
from serving.repository import Samples, read_samples

RESULT = ROOT / "docs" / "benchmarks" / "servers.json"
TOGETHER = (
    ("ours", "ceiling", "grpc-echo", "uvicorn"),
    ("ours-1-worker", "ours-2-workers", f"ours-{VERSIONS}-versions", f"ours-{IDLE_CONNECTIONS}-idle"),
    ("tfserving", "tfserving-batching"),
)
"""Who is up at the same time; everybody else is alone, since idle processes would disturb."""
YARDSTICKS = {"ours": "pytorch-onnx", "tfserving": "tensorflow-savedmodel"}
"""The artifact that is run without a server beside a group, by the group's first contender."""
FIGURES = ("requests_per_s", "p50_ms", "p99_ms", "server_cpu_us_per_request", "rss_bytes")
NOTE = (
    "generator `own` looks into every answer; `wrk` counts statuses only. Server on the first core, load on the last; "
    "ours-2-workers has both cores, so that the load takes a share of what it measures."
)


class Result:
    """What the rounds have found so far."""

    def __init__(self) -> None:
        self.runs: dict[Point, list[dict[str, Any]]] = {}
        self.in_process: dict[str, list[list[dict[str, Any]]]] = {}
        self.missing: dict[str, str] = {}

    def drop(self, group: list[Contender], reason: str) -> None:
        """Forget contenders that could not be measured in every round, and say why."""
        names = {contender.name for contender in group}
        self.runs = {point: runs for point, runs in self.runs.items() if point.name not in names}
        self.missing |= dict.fromkeys(sorted(names), reason)

    def rows(self, everybody: Mapping[str, Contender]) -> list[dict[str, Any]]:
        """The medians over the rounds, and the rounds."""
        order = list(everybody)
        points = sorted(self.runs, key=lambda p: (order.index(p.name), p.payload, p.generator, p.connections))
        return [summary(point, self.runs[point], everybody[point.name]) for point in points]

    def yardsticks(self) -> list[dict[str, Any]]:
        """Each runtime alone, by batch size."""
        found = []
        for rounds in self.in_process.values():
            for same in zip(*rounds, strict=True):
                times_ms = [row["latency_p50_ms"] for row in same]
                median_ms = statistics.median(times_ms)
                row = {"artifact": same[0]["artifact"], "batch_size": same[0]["batch_size"]}
                rate = row["batch_size"] / median_ms * 1e3
                found.append({**row, "latency_p50_ms": median_ms, "samples_per_s": rate, "rounds_ms": times_ms})
        return found


def summary(point: Point, runs: list[dict[str, Any]], contender: Contender) -> dict[str, Any]:
    """One row of the result."""
    checked = contender.checked and point.generator == "own"
    return {
        "name": point.name,
        "payload": point.payload,
        "connections": point.connections,
        "generator": point.generator,
        "artifact": contender.artifact,
        "batching": contender.batching,
        **{figure: round(statistics.median(run[figure] for run in runs), 4) for figure in FIGURES},
        "requests": sum(run["requests"] for run in runs),
        "failures": sum(run["failures"] for run in runs),
        "wrong_answers": sum(run["wrong_answers"] for run in runs) if checked else None,
        "generator_share": max(run["generator_share"] for run in runs) if point.generator == "own" else None,
        "rounds": [{figure: round(run[figure], 4) for figure in FIGURES} for run in runs],
    }


def groups(wanted: Iterable[str], everybody: Mapping[str, Contender]) -> list[list[Contender]]:
    """Who is measured at the same time; raises StageError for a name that nobody has."""
    wanted = list(wanted)
    unknown = [name for name in wanted if name not in everybody]
    if unknown:
        raise StageError(f"no contender {unknown[0]!r}: choose from {', '.join(everybody)}")
    paired = {name for names in TOGETHER for name in names}
    named = [*TOGETHER, *((name,) for name in everybody if name not in paired)]
    found = [[everybody[name] for name in names if name in wanted] for names in named]
    return [group for group in found if group]


def run_group(group: list[Contender], samples: Samples, number: int, seconds: float, result: Result) -> None:
    """One round of contenders against each other: all are up and take turns, in the other order every other round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = []
        for contender in group:
            up.append(begin(contender, samples, folder / contender.name))
            stack.callback(up[-1].stop)
        turns = [(point, started) for started in up[:: -1 if number % 2 else 1] for point in started.points()]
        turns.sort(key=lambda turn: (turn[0].payload, turn[0].connections, turn[0].generator))
        found = {point: measure(started, point, seconds, folder) for point, started in turns}
        if artifact := YARDSTICKS.get(group[0].name):
            argv = (sys.executable, "-m", "loadtest.runs.in_process", artifact)
            said = run_to_end(argv, folder / "in_process.log", cores()[0], 120)
            result.in_process.setdefault(artifact, []).append(json.loads(said.splitlines()[-1]))
    for point, figures in found.items():
        result.runs.setdefault(point, []).append(figures)


def run(wanted: Iterable[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure all, and return what is written."""
    samples, everybody, result = read_samples(), contenders(), Result()
    going = groups(wanted, everybody)
    with tqdm(total=rounds * len(going), file=sys.stderr) as progress:
        for number in range(rounds):
            for group in list(going):
                progress.set_description(", ".join(contender.name for contender in group))
                try:
                    run_group(group, samples, number, seconds, result)
                except StageError as error:
                    progress.write(str(error), file=sys.stderr)
                    result.drop(group, str(error))
                    going.remove(group)
                progress.update()
    rows, yardsticks = result.rows(everybody), result.yardsticks()
    genuine = {"requests_per_s": GENUINE_REQUESTS_PER_S, "in_process_batch_32_us": GENUINE_BATCH_32_US}
    return {
        "bars": judge(rows, yardsticks),
        "contenders": rows,
        "environment": environment(*cores()),
        "genuine_tensorflow_serving_2.20.0": genuine,
        "in_process": yardsticks,
        "missing": result.missing,
        "note": NOTE,
        "rounds": rounds,
        "seconds": seconds,
        "warm_up_s": WARM_UP_S,
        "wrk": bench_wrk.is_installed(),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest bench", description=__doc__)
    parser.add_argument("--contenders", default="", help="names with commas; all without")
    parser.add_argument("--seconds", type=float, default=1.2, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the Markdown of the result that is there")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.table:
            print(tables(_read(options.output)))
            return 0
        wanted = options.contenders.split(",") if options.contenders else list(contenders())
        result = run(wanted, options.rounds, options.seconds)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    write_whole(options.output, to_json(result).encode())
    write_whole(options.output.with_suffix(".svg"), draw(result["contenders"]).encode())
    write_whole(options.output.with_suffix(".md"), page(result).encode())
    print(tables(result))
    return 0


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StageError(f"no {shown(path)}: run `make bench-servers`")
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result


if __name__ == "__main__":
    sys.exit(main())
