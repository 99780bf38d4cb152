"""Compare the execution modes of both twins, and each with the loop that articles show.

A round measures every mode once, in random order, each in a process of its own (training.measure), to the test
accuracy 98 %. Writes `artifacts/results/training.json` after each measurement, so an interrupted comparison keeps what
it has, and prints the table. `--publish` copies it to `docs/benchmarks/training.json`.

    python -m training.compare [--rounds 3 --seed 1 --frameworks tensorflow pytorch]

The JSON is the `training_modes` of the report: `modes[]` (framework, mode, seconds_to_target, seconds_per_epoch,
images_per_s, first_step_s, peak_rss_bytes, test_accuracy: medians; `speedup`: the reference's seconds_to_target
divided by this one's, median over the rounds that have both; `runs[]`: the figures of each round; `missing`: why there
are none), `inference[]` (framework, mode, batch_size, latency_p50_ms, samples_per_s, first_s), `environment`. Verdicts
are made from `runs` by loadtest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from contract import FRAMEWORKS, RESULTS, ROOT, StageError, shown, to_json, write_whole
from training.measure import REFERENCE

# Spelled out here because asking the twins would import both frameworks; a test holds the lists together.
MODES = {"tensorflow": ("xla", "graph", "eager", "fit"), "pytorch": ("eager", "compile")}
INFERENCE_MODES = {"tensorflow": ("eager", "graph", "xla"), "pytorch": ("eager", "export", "compile")}
FIGURES = (
    "seconds_to_target",
    "seconds_to_target_with_first_step",
    "steps_to_target",
    "seconds_per_epoch",
    "images_per_s",
    "first_step_s",
    "peak_rss_bytes",
    "test_accuracy",
)
RESULT = RESULTS / "training.json"
PUBLISHED = ROOT / "docs" / "benchmarks" / "training.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the modes")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--prefix", default="", help="put before each measurement's command, e.g. 'taskset -c 0,1'")
    parser.add_argument("--publish", action="store_true", help=f"write {shown(PUBLISHED)} as well")
    given = parser.parse_args(argv)
    try:
        result = compare(given)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    if given.publish:
        write_whole(PUBLISHED, to_json(result).encode())
    print(table(result))
    return 0


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; keep the result after each measurement."""
    plan = planned(given)
    runs: list[dict[str, Any]] = []
    inference: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    started = environment(given)
    with tqdm(plan, desc="compare-training", unit="run", leave=False) as bar:
        for number, framework, mode, kind in bar:
            bar.set_postfix_str(f"{framework} {mode} {kind}")
            seen = measure(framework, mode, kind, given)
            if kind == "training":
                runs.append(seen | {"round": number})
            else:
                inference += [
                    {"framework": framework, "mode": mode, "round": number} | row for row in seen.get("inference", [])
                ]
            result = summed_up(runs, inference, given) | {"environment": started}
            write_whole(RESULT, to_json(result).encode())
    return result


def planned(given: argparse.Namespace) -> list[tuple[int, str, str, str]]:
    """Every round's measurements in random order: round, framework, mode, kind."""
    shuffle = random.Random(given.seed)  # noqa: S311: an order, no secret
    plan = []
    for number in range(1, given.rounds + 1):
        chosen = [(number, f, m, "training") for f in given.frameworks for m in (REFERENCE, *MODES[f])]
        chosen += [(number, f, m, "inference") for f in given.frameworks for m in INFERENCE_MODES[f]]
        shuffle.shuffle(chosen)
        plan += chosen
    return plan


def measure(framework: str, mode: str, kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in its process; raises StageError with its last words where it fails."""
    command = [*shlex.split(given.prefix), sys.executable, "-m", "training.measure", framework, mode]
    command += ["--inference"] if kind == "inference" else ["--target-accuracy", str(given.target_accuracy)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
        raise StageError(f"{framework} {mode} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summed_up(runs: list[dict[str, Any]], inference: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Medians over the rounds, and the ratio to the reference."""
    modes = []
    for framework in given.frameworks:
        reference = seconds_by_round(runs, framework, REFERENCE)
        for mode in (REFERENCE, *MODES[framework]):
            own = [run for run in runs if (run["framework"], run["mode"]) == (framework, mode)]
            if not own:
                continue
            seconds = seconds_by_round(runs, framework, mode)
            ratios = [reference[number] / seconds[number] for number in seconds if number in reference]
            row = {"framework": framework, "mode": mode, "rounds": len(own), "runs": own}
            row |= {"speedup": statistics.median(ratios) if ratios else None, "speedups": ratios}
            row |= {"missing": own[0].get("missing")} | {name: median(own, name) for name in FIGURES}
            modes.append(row)
    target = {"target_accuracy": given.target_accuracy, "rounds": given.rounds}
    return {"modes": modes, "inference": medians_of(inference)} | target


def seconds_by_round(runs: list[dict[str, Any]], framework: str, mode: str) -> dict[int, float]:
    """The seconds to the target of a mode in each round that reached it."""
    own = (run for run in runs if (run["framework"], run["mode"]) == (framework, mode))
    return {run["round"]: run["seconds_to_target"] for run in own if run.get("seconds_to_target")}


def median(rows: list[dict[str, Any]], name: str) -> float | None:
    """The median of a figure over the rows that have it."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.median(values) if values else None


def medians_of(inference: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per framework, mode and batch size."""
    keys = list(dict.fromkeys((row["framework"], row["mode"], row["batch_size"]) for row in inference))
    rows = []
    for key in keys:
        own = [row for row in inference if (row["framework"], row["mode"], row["batch_size"]) == key]
        names = ("latency_p50_ms", "samples_per_s", "first_s")
        row = dict(zip(("framework", "mode", "batch_size"), key, strict=True))
        rows.append(row | {name: median(own, name) for name in names} | {"runs": [r["latency_p50_ms"] for r in own]})
    return rows


def environment(given: argparse.Namespace) -> dict[str, Any]:
    """The machine, the versions and the command, so that the result explains itself."""
    commit = subprocess.run(("git", "rev-parse", "HEAD"), cwd=ROOT, capture_output=True, text=True, check=False)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": psutil.virtual_memory().total,
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_average_1m": os.getloadavg()[0],
        },
        "versions": {name: version(name) for name in ("tensorflow", "keras", "torch", "numpy")},
        "git_commit": commit.stdout.strip() or None,
        "command": f"python -m training.compare --rounds {given.rounds} --seed {given.seed}",
    }


def table(result: dict[str, Any]) -> str:
    """The table that the command prints."""
    lines = [
        f"{'framework':<12}{'mode':<11}{'s to target':>12}{'× reference':>12}{'s/epoch':>9}{'images/s':>10}"
        f"{'first step s':>14}{'peak MB':>9}{'accuracy':>10}"
    ]
    for row in result["modes"]:
        head = f"{row['framework']:<12}{row['mode']:<11}"
        if row["missing"]:
            lines.append(f"{head}{row['missing']}")
            continue
        speedup = f"{row['speedup']:.2f}" if row["speedup"] else "n/a"
        to_target = f"{row['seconds_to_target']:.1f}" if row["seconds_to_target"] else "not reached"
        lines.append(
            f"{head}{to_target:>12}{speedup:>12}{row['seconds_per_epoch']:>9.1f}{row['images_per_s']:>10.0f}"
            f"{row['first_step_s']:>14.2f}{row['peak_rss_bytes'] / 1e6:>9.0f}{row['test_accuracy']:>10.2%}"
        )
    return "\n".join([*lines, f"in {shown(RESULT)}"])


if __name__ == "__main__":
    sys.exit(main())
