"""Compare the execution modes of both twins, and each with the loop that articles show.

First the steps of each mode to 98 % test accuracy are counted, each in a process of its own (training.measure), then
rounds measure its seconds per step: the modes of a framework take turns in random order. Seconds to 98 % are steps
times seconds per step. Writes `artifacts/results/training.json` after each measurement, so an interrupted comparison
keeps what it has, and prints the table; one that came to its end is copied to `docs/benchmarks/training.json`.

    python -m training.compare [--rounds 5 --seed 1 --frameworks tensorflow pytorch]

The JSON is the `training_modes` of the report: `modes[]` (framework, mode, steps_to_target, seconds_to_target,
seconds_per_epoch, images_per_s, first_step_s, peak_rss_bytes, test_accuracy: medians; `speedup`: the reference's
seconds_to_target divided by this one's, median over the rounds; `runs[]`: the figures of each round; `missing`: why
there are none), `inference[]` (framework, mode, batch_size, latency_p50_ms, samples_per_s, first_s, runs[]),
`distributed[]` (what `make train-distributed` left), `environment`. Verdicts are made from `runs` by loadtest.
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

from contract import FRAMEWORKS, MODELS, RESULTS, ROOT, Manifest, StageError, shown, to_json, write_whole
from training.distributed import FOLDER as DISTRIBUTED
from training.measure import REFERENCE

# Spelled out here because asking the twins would import both frameworks; a test holds the lists together.
MODES = {"tensorflow": ("xla", "graph", "eager", "fit"), "pytorch": ("eager", "compile")}
INFERENCE_MODES = {"tensorflow": ("eager", "graph", "xla"), "pytorch": ("eager", "export", "compile")}
STRATEGIES = {"tensorflow": "MultiWorkerMirroredStrategy", "pytorch": "DistributedDataParallel"}
COUNTED = ("steps_to_target", "test_accuracy", "peak_rss_bytes")
TIMED = ("seconds_to_target", "seconds_per_epoch", "images_per_s", "first_step_s")
RESULT = RESULTS / "training.json"
PUBLISHED = ROOT / "docs" / "benchmarks" / "training.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the modes")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--steps", type=int, default=50, help="of one turn")
    parser.add_argument("--keep-counts", action="store_true", help="take the steps to the target from the last result")
    parser.add_argument("--prefix", default="", help="put before each timed command, e.g. 'taskset -c 0,1'")
    parser.add_argument("--no-publish", action="store_true", help=f"leave {shown(PUBLISHED)} as it is")
    given = parser.parse_args(argv)
    try:
        result = compare(given)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    if not given.no_publish:
        write_whole(PUBLISHED, to_json(result).encode())
    print(table(result))
    return 0


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; keep the result after each measurement."""
    counts: list[dict[str, Any]] = read_counts(given) if given.keep_counts else []
    runs: list[dict[str, Any]] = []
    inference: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    kept = {"count": counts, "turns": runs, "inference": inference}
    started = environment(given)
    with tqdm(planned(given, counts), desc="compare-training", unit="run", leave=False) as bar:
        for kind, framework, mode in bar:
            bar.set_postfix_str(f"{kind} {framework} {mode}")
            seen = measure(kind, framework, mode, given)
            rows = seen.pop(kind, None)  # a count is one row
            kept[kind] += [seen] if rows is None else [{**seen, **row} for row in rows]
            result = summed_up(counts, runs, inference, given) | {"environment": started}
            write_whole(RESULT, to_json(result).encode())
    return result


def read_counts(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The counts of the last comparison: they don't depend on the machine's load."""
    if not RESULT.is_file():
        raise StageError(f"no {shown(RESULT)} to keep the counts of: run without --keep-counts")
    before = json.loads(RESULT.read_text())
    if before["target_accuracy"] != given.target_accuracy:
        raise StageError(f"the counts in {shown(RESULT)} are to {before['target_accuracy']}: run without --keep-counts")
    return list(before["counts"].values())


def planned(given: argparse.Namespace, counts: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The counts that aren't known, then the turns and the inference in random order: kind, framework, mode."""
    shuffle = random.Random(given.seed)  # noqa: S311
    known = {(count["framework"], count["mode"]) for count in counts}
    modes = [(framework, mode) for framework in given.frameworks for mode in (REFERENCE, *MODES[framework])]
    timed = [("inference", framework, mode) for framework in given.frameworks for mode in INFERENCE_MODES[framework]]
    timed += [("turns", framework, REFERENCE) for framework in given.frameworks]
    return [("count", *pair) for pair in modes if pair not in known] + shuffle.sample(timed, len(timed))


def measure(kind: str, framework: str, mode: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in its process; raises StageError with its last words where it fails."""
    prefix = [] if kind == "count" else shlex.split(given.prefix)
    command = [*prefix, sys.executable, "-m", "training.measure", kind, framework, "--mode", mode]
    command += ["--target-accuracy", given.target_accuracy, "--steps", given.steps, "--rounds", given.rounds]
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
        raise StageError(f"{framework} {mode} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summed_up(
    counts: list[dict[str, Any]], runs: list[dict[str, Any]], inference: list[dict[str, Any]], given: argparse.Namespace
) -> dict[str, Any]:
    """Medians over the rounds, and the ratio to the reference."""
    modes: list[dict[str, Any]] = []
    for framework in given.frameworks:
        reference: dict[int, float] = {}
        for mode in (REFERENCE, *MODES[framework]):
            count = next((c for c in counts if (c["framework"], c["mode"]) == (framework, mode)), {})
            steps = count.get("steps_to_target")
            own = [run for run in runs if (run["framework"], run["mode"]) == (framework, mode)]
            for run in own:
                per_step = run.get("seconds_per_step")
                run["seconds_to_target"] = steps * per_step if steps and per_step else None
            seconds = {run["round"]: run["seconds_to_target"] for run in own if run["seconds_to_target"]}
            reference = reference or seconds
            ratios = [reference[number] / seconds[number] for number in seconds if number in reference]
            row = {"framework": framework, "mode": mode, "rounds": len(own), "runs": own, "speedups": ratios}
            row |= {"speedup": statistics.median(ratios) if ratios else None, "missing": count.get("missing")}
            row |= {name: count.get(name) for name in COUNTED} | {name: median(own, name) for name in TIMED}
            modes.append(row)
    facts = {"target_accuracy": given.target_accuracy, "rounds": given.rounds, "steps": given.steps}
    lists = {"modes": modes, "inference": medians_of(inference), "distributed": distributed()}
    return lists | {"counts": {f"{c['framework']} {c['mode']}": c for c in counts}} | facts


def distributed() -> list[dict[str, Any]]:
    """What `make train-distributed` left, beside the single process's accuracy."""
    rows = []
    for framework in FRAMEWORKS:
        if not (DISTRIBUTED / framework / "manifest.json").is_file():
            continue
        together = Manifest.read(DISTRIBUTED / framework, "make train-distributed")
        epochs = together.training["epochs_log"]
        row = {"framework": framework, "mode": STRATEGIES[framework], "workers": together.training["workers"]}
        row |= {"test_accuracy": together.test_accuracy, "single_process_accuracy": None}
        row["seconds_per_epoch"] = statistics.median(epoch["seconds"] for epoch in epochs)
        if (MODELS / framework / "manifest.json").is_file():
            row["single_process_accuracy"] = Manifest.read(MODELS / framework, f"make train-{framework}").test_accuracy
        rows.append(row)
    return rows


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
        f"{'first step s':>14}{'peak B':>9}{'accuracy':>10}"
    ]
    for row in result["modes"]:
        head = f"{row['framework']:<12}{row['mode']:<11}"
        if row["missing"]:
            lines.append(f"{head}{row['missing']}")
            continue
        cells = (
            ("seconds_to_target", "12.1f"),
            ("speedup", "12.2f"),
            ("seconds_per_epoch", "9.1f"),
            ("images_per_s", "10.0f"),
            ("first_step_s", "14.2f"),
            ("peak_rss_bytes", "9.2e"),
            ("test_accuracy", "10.2%"),
        )
        lines.append(head + "".join(cell(row[name], form) for name, form in cells))
    return "\n".join([*lines, f"in {shown(RESULT)}"])


def cell(value: float | None, form: str) -> str:
    """A number in its column, or n/a."""
    return "n/a".rjust(int(form.partition(".")[0])) if value is None else format(value, form)


if __name__ == "__main__":
    sys.exit(main())
