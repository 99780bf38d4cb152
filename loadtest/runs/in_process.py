"""What a model takes without any server: the floor under every endpoint. `python -m loadtest in-process`

Runs each artifact in a process of its own, on the servers' cores, one intra-op thread. Reads the model repository;
writes `<workspace>/results/in_process.json`; an artifact whose files have not changed since is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from contract import EXPORT_FIRST, MODEL_REPOSITORY, RESULTS, Manifest, StageError, to_json, write_whole
from export.format import find_format
from loadtest.analysis.facts import InProcess
from loadtest.analysis.intervals import order_interval
from loadtest.runs.environment import pinning
from loadtest.runs.generator_process import run_to_end
from serving.repository import Samples, read_artifacts, read_samples

OUTPUT = RESULTS / "in_process.json"
BATCH_SIZES = (1, 32)
SECONDS, LONGEST_S = 0.5, 4.0
"""Of a batch size's runs: until there are RUNS of them, but no longer than the second."""
RUNS = 20
WARM_UP = 5
"""One in so many runs, the first ones, warms the model up."""
LIMIT_S = 120.0
"""Of the process, loading included."""


def measure_missing() -> list[dict[str, Any]]:
    """Measure every artifact that has no figures yet; returns and writes those of all.

    One that can't be run gets a `reason` in place of figures.
    """
    known = json.loads(OUTPUT.read_bytes()) if OUTPUT.is_file() else []
    kept: list[dict[str, Any]] = []
    for name, manifest in read_artifacts().items():
        fresh = [row for row in known if row["artifact"] == name and row["sha256"] == manifest.sha256]
        usable = fresh if all("reason" not in row and "latency_low_ms" in row for row in fresh) else []
        kept += usable or _measured_apart(name, manifest)
        write_whole(OUTPUT, to_json(kept).encode())
    return kept


def _measured_apart(name: str, manifest: Manifest) -> list[dict[str, Any]]:
    argv = (sys.executable, "-m", "loadtest.runs.in_process", name)
    try:
        output = run_to_end(argv, RESULTS / "in_process.log", pinning()[0], LIMIT_S)
    except StageError as error:
        return [{"artifact": name, "sha256": manifest.sha256, "reason": str(error)}]
    rows: list[dict[str, Any]] = json.loads(output.splitlines()[-1])
    return [{**row, "sha256": manifest.sha256} for row in rows]


def measure(name: str, repository: Path = MODEL_REPOSITORY) -> list[InProcess]:
    """Run one artifact in this process: median latency and samples per second for each batch size it can take."""
    manifest = Manifest.read(repository / name, EXPORT_FIRST)
    samples = read_samples(repository)
    model = find_format(manifest.format).load(repository / name / manifest.version, 1)
    rows = []
    for size in batch_sizes(manifest, len(samples)):
        check_answers(model.run(samples.take(slice(0, size))), samples, name, size)
        inputs = samples.take(slice(0, size))
        rows.append(describe(name, size, time_runs(lambda inputs=inputs: model.run(inputs))))  # type: ignore[misc]
    return rows


def batch_sizes(manifest: Manifest, samples: int) -> list[int]:
    """The batch sizes to run: no more rows than there are samples, and one where the batch is fixed."""
    fixed = [tensor.shape[0] for tensor in manifest.inputs if tensor.shape and tensor.shape[0] != -1]
    sizes = [size if size <= samples else samples for size in BATCH_SIZES]
    return sorted({1, *sizes}) if not fixed else [min(fixed[0], samples)]


def check_answers(outputs: Any, samples: Samples, name: str, size: int) -> None:
    """Raise StageError where the artifact answers wrongly."""
    if fault := samples.fault(outputs, name, slice(0, size)):
        raise StageError(f"{name} answers wrongly in process: {fault}")


def time_runs(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> np.ndarray:
    """Seconds of each run, the first ones left out: for SECONDS and RUNS runs, but no longer than LONGEST_S."""
    times: list[float] = []
    began_s = clock()
    while ((spent_s := clock() - began_s) < LONGEST_S and (spent_s < SECONDS or len(times) < RUNS)) or len(times) < 2:
        run_began_s = clock()
        run()
        times.append(clock() - run_began_s)
    return np.array(times[max(1, len(times) // WARM_UP) :])


def describe(name: str, size: int, times_s: np.ndarray) -> InProcess:
    """The figures of the runs of one batch size, `size` rows in each."""
    median_s = float(np.median(times_s))
    interval = order_interval(np.sort(times_s), 0.5)
    low, high = (bound * 1e3 for bound in interval) if interval else (None, None)
    return InProcess(name, size, median_s * 1e3, low, high, size / median_s, len(times_s))


def main(words: Sequence[str]) -> int:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(prog="python -m loadtest in-process", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(words)
    for row in measure_missing():
        if "reason" in row:
            print(f"{row['artifact']:24} n/a ({row['reason'].splitlines()[0]})")
        else:
            figures = f"p50 {row['latency_p50_ms']:8.3f} ms  {row['samples_per_s']:10,.0f} samples/s"
            print(f"{row['artifact']:24} batch {row['batch_size']:3}  {figures}")
    return 0


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in measure(sys.argv[1])]))
