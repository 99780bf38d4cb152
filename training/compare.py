"""Compare the execution modes of both twins, and each with the loop that tutorials show.

The modes of a framework run interleaved in random order over rounds (training.interleaved), which measures seconds per
step. The steps to 98 % test accuracy are counted once per framework, by the mode that the twin trains in by default:
every mode does the same updates in the same order from the same seed, and the losses of the pieces hold it to that: a
mode whose loss differs from the counted one's by more than 1 % in a round has no seconds to 98 %. Seconds to 98 % are
steps times seconds per step, so the ratio to the tutorial's loop is a ratio of speeds. Writes
`artifacts/mnist/results/training.json` after each measurement, so an interrupted comparison keeps what it has, and
prints the table; one that came to its end is copied to `docs/benchmarks/training.json`.

    python -m training.compare [--rounds 5 --seed 1 --frameworks tensorflow pytorch]

The figures in the file are described in training.mode_figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from contract import FRAMEWORKS, ROOT, StageError, shown, to_json, write_whole
from training.hyperparameters import WORKSPACE
from training.interleaved import run_interleaved
from training.measure import REFERENCE
from training.mode_figures import INFERENCE_MODES, MODES, summed_up

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
