"""Compare the execution modes of both twins, and each with the loop that tutorials show.

The modes of a framework run interleaved in random order over rounds (training.interleaved), which measures seconds per
step. The steps to 98 % test accuracy are counted once per framework, by the mode that the twin trains in by default:
every mode does the same updates in the same order from the same seed, and the losses of the pieces hold it to that: a
mode whose loss differs from the counted one's by more than 1 % in a round has no seconds to 98 %. Seconds to 98 % are
steps times seconds per step, so the ratio to the tutorial's loop is a ratio of speeds. Writes
`artifacts/mnist/results/training.json` after each measurement, so an interrupted comparison keeps what it has, and
prints the table; one that came to its end is copied to `docs/benchmarks/training.json`.

    python -m training.compare [--rounds 5 --seed 1 --frameworks tensorflow pytorch]

The JSON is the `training_modes` of the report: `modes[]` (framework, mode, steps_to_target, seconds_to_target,
seconds_per_epoch, images_per_s, first_step_s, peak_rss_bytes, test_accuracy: medians; `counted_by`: the mode that the
steps were counted in; `loss_difference`: the largest relative one to it in a round; `speedup`: the reference's
seconds_to_target divided by this one's, median over the rounds; `runs[]`: the figures of each round; `missing`: why
there are none), `inference[]` (framework, mode, batch_size, latency_p50_ms, samples_per_s, first_s, runs[]),
`distributed[]` (what `make train-distributed` left), `environment`. Verdicts are made from `runs` by loadtest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from contract import FRAMEWORKS, ROOT, Manifest, StageError, shown, to_json, write_whole
from training.distributed import FOLDER as DISTRIBUTED
from training.hyperparameters import MODELS, WORKSPACE
from training.interleaved import run_interleaved
from training.measure import REFERENCE

# Spelled out here because asking the twins would import both frameworks; a test holds the lists together.
MODES = {"tensorflow": ("xla", "graph", "eager", "fit"), "pytorch": ("eager", "compile")}
INFERENCE_MODES = {"tensorflow": ("eager", "graph", "xla"), "pytorch": ("eager", "export", "compile")}
STRATEGIES = {"tensorflow": "MultiWorkerMirroredStrategy", "pytorch": "DistributedDataParallel"}
COUNTED = ("steps_to_target", "test_accuracy")
TIMED = ("seconds_to_target", "seconds_per_epoch", "images_per_s", "first_step_s")
SAME_UPDATES = 0.01
"""How far, relatively, the losses of two modes that do the same updates may lie apart in a round."""
RESULT = WORKSPACE / "results" / "training.json"
PUBLISHED = ROOT / "docs" / "benchmarks" / "training.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the modes")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--steps", type=int, default=30, help="of one piece")
    parser.add_argument("--prefix", default="", help="put before each timed command, e.g. 'taskset -c 0,1'")
    parser.add_argument("--no-publish", action="store_true", help=f"leave {shown(PUBLISHED)} as it is")
    options = parser.parse_args(argv)
    try:
        result = compare(options)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted: what was measured is in {shown(RESULT)}", file=sys.stderr)
        return 130
    if not options.no_publish:
        write_whole(PUBLISHED, to_json(result).encode())
    print(table(result))
    return 0


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; keep the result after each measurement."""
    kept: dict[str, list[dict[str, Any]]] = {"count": [], "steps": [], "inference": []}
    started = environment(options)

    def keep(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        kept[kind] += rows
        result = summed_up(kept["count"], kept["steps"], kept["inference"], options) | {"environment": started}
        write_whole(RESULT, to_json(result).encode())
        return result

    plan = planned(options)
    total = sum(pieces_of(entry[1], options) if entry[0] == "steps" else 1 for entry in plan)
    with tqdm(total=total, desc="compare-training", unit="run", leave=False) as bar:
        for kind, framework, mode in plan:
            bar.set_postfix_str(f"{kind} {framework} {mode}")
            if kind == "steps":
                asyncio.run(play(framework, options, keep, bar))
                continue
            seen = measure(kind, framework, mode, options)
            rows = seen.pop(kind, None)  # a count is one row
            keep(kind, [seen] if rows is None else [seen | row for row in rows])
            bar.update()
    return keep("count", [])


async def play(framework: str, options: argparse.Namespace, keep: Callable[..., Any], bar: Any) -> None:
    """Run the modes of a framework interleaved; keep each piece."""
    modes = (REFERENCE, *MODES[framework])
    async for row in run_interleaved(framework, modes, options.rounds, options.steps, options.seed, options.prefix):
        keep("steps", [row])
        bar.update("round" in row)


def pieces_of(framework: str, options: argparse.Namespace) -> int:
    """How many pieces the modes of a framework are timed in."""
    return (1 + len(MODES[framework])) * int(options.rounds)


def planned(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """The counts, then the pieces of each framework and the inference in random order: kind, framework, mode."""
    shuffle = random.Random(options.seed)  # noqa: S311
    timed = [("inference", framework, mode) for framework in options.frameworks for mode in INFERENCE_MODES[framework]]
    timed += [("steps", framework, "") for framework in options.frameworks]
    counts = [("count", framework, MODES[framework][0]) for framework in options.frameworks]
    return counts + shuffle.sample(timed, len(timed))


def measure(kind: str, framework: str, mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in its process; raises StageError with its last words where it fails."""
    prefix = [] if kind == "count" else shlex.split(options.prefix)
    command = [*prefix, sys.executable, "-m", "training.measure", kind, framework, "--mode", mode]
    command += ["--target-accuracy", options.target_accuracy, "--steps", options.steps, "--rounds", options.rounds]
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
        raise StageError(f"{framework} {mode} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summed_up(
    counts: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    inference: list[dict[str, Any]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Medians over the rounds, and the ratio to the reference."""
    modes: list[dict[str, Any]] = []
    for framework in options.frameworks:
        count: dict[str, Any] = next((c for c in counts if c["framework"] == framework), {})
        rows_of = {mode: [row for row in runs if (row["framework"], row["mode"]) == (framework, mode)]
                   for mode in (REFERENCE, *MODES[framework])}  # fmt: skip
        counted = losses(rows_of.get(count.get("mode", ""), []))
        reference: dict[int, float] = {}
        for mode, rows in rows_of.items():
            row = summed_up_mode(rows, count, counted) | {"framework": framework, "mode": mode}
            seconds = {run["round"]: run["seconds_to_target"] for run in row["runs"] if run["seconds_to_target"]}
            reference = reference or seconds
            ratios = [reference[number] / seconds[number] for number in seconds if number in reference]
            modes.append(row | {"speedups": ratios, "speedup": statistics.median(ratios) if ratios else None})
    facts = {"target_accuracy": options.target_accuracy, "rounds": options.rounds, "steps": options.steps}
    lists = {"modes": modes, "inference": medians_of(inference), "distributed": distributed()}
    return lists | {"counts": {f"{c['framework']} {c['mode']}": c for c in counts}} | facts


def summed_up_mode(rows: list[dict[str, Any]], count: dict[str, Any], counted: dict[int, float]) -> dict[str, Any]:
    """A mode's medians over its pieces; the count is its own where its losses are those of the counted mode."""
    runs = [row for row in rows if "round" in row]
    timed = losses(runs)
    apart = max((abs(timed[number] / counted[number] - 1) for number in timed if number in counted), default=None)
    holds = apart is not None and apart <= SAME_UPDATES
    row = {name: count.get(name) if holds else None for name in COUNTED}
    steps = row["steps_to_target"]
    runs = [run | {"seconds_to_target": steps * run["seconds_per_step"] if steps else None} for run in runs]
    row |= {name: median(runs, name) for name in TIMED} | {"peak_rss_bytes": median(rows, "peak_rss_bytes")}
    missing = next((row["missing"] for row in rows if "missing" in row), count.get("missing"))
    row |= {"counted_by": count.get("mode") if holds else None, "loss_difference": apart, "missing": missing}
    return row | {"rounds": len(runs), "runs": runs}


def losses(rows: list[dict[str, Any]]) -> dict[int, float]:
    """The mean loss of each round."""
    return {row["round"]: row["loss"] for row in rows if "round" in row}


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
    order = [(framework, mode) for framework, modes in INFERENCE_MODES.items() for mode in modes]
    measured = {(row["framework"], row["mode"], row["batch_size"]) for row in inference}
    keys = sorted(measured, key=lambda key: (order.index(key[:2]), key[2]))
    rows = []
    for key in keys:
        repeats = [row for row in inference if (row["framework"], row["mode"], row["batch_size"]) == key]
        names = ("latency_p50_ms", "samples_per_s", "first_s")
        row = dict(zip(("framework", "mode", "batch_size"), key, strict=True))
        rows.append(
            row | {name: median(repeats, name) for name in names} | {"runs": [r["latency_p50_ms"] for r in repeats]}
        )
    return rows


def environment(options: argparse.Namespace) -> dict[str, Any]:
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
        "command": f"python -m training.compare --rounds {options.rounds} --steps {options.steps} "
        f"--seed {options.seed}",
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
