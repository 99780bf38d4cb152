"""What a model takes without any server: the floor under every endpoint. `python -m loadtest in_process`

Runs each artifact in a process of its own, on the servers' cores, one intra-op thread. Reads the model repository;
writes `artifacts/results/in_process.json`; an artifact whose files have not changed since is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract import MODEL_REPOSITORY, RESULTS, Manifest, StageError, to_json, write_whole
from export.format import find_format
from loadtest.runs.environment import pinning
from loadtest.runs.generator_process import run_to_end
from serving.repository import read_artifacts, read_samples

OUTPUT = RESULTS / "in_process.json"
BATCH_SIZES = (1, 32)
SECONDS = 0.5
LIMIT_S = 120.0


def measure_missing() -> list[dict[str, Any]]:
    """Measure every artifact that has no figures yet; returns and writes those of all."""
    known = json.loads(OUTPUT.read_bytes()) if OUTPUT.is_file() else []
    kept: list[dict[str, Any]] = []
    for name, manifest in read_artifacts().items():
        fresh = [row for row in known if row["artifact"] == name and row["sha256"] == manifest.sha256]
        kept += fresh or _measured_apart(name, manifest)
        write_whole(OUTPUT, to_json(kept).encode())
    return kept


def _measured_apart(name: str, manifest: Manifest) -> list[dict[str, Any]]:
    argv = (sys.executable, "-m", "loadtest.runs.in_process", name)
    said = run_to_end(argv, RESULTS / "in_process.log", pinning()[0], LIMIT_S)
    rows: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
    return [{**row, "sha256": manifest.sha256} for row in rows]


def measure(name: str, repository: Path = MODEL_REPOSITORY) -> list[dict[str, Any]]:
    """Run one artifact in this process: median latency and samples per second for each batch size."""
    manifest = Manifest.read(repository / name, "make export")
    samples = read_samples(repository)
    model = find_format(manifest.format).load(repository / name / manifest.version, 1)
    rows = []
    for batch in BATCH_SIZES:
        inputs = samples.take(slice(0, batch))
        outputs = model.run(inputs)
        if fault := samples.fault(outputs, name, slice(0, batch)):
            raise StageError(f"{name} answers wrongly in process: {fault}")
        times: list[float] = []
        end_s = time.perf_counter() + SECONDS
        while time.perf_counter() < end_s or len(times) < 20:
            begun_s = time.perf_counter()
            model.run(inputs)
            times.append(time.perf_counter() - begun_s)
        median_s = float(np.median(times[len(times) // 5 :]))  # the first fifth warms it up
        rows.append(
            {
                "artifact": name,
                "batch_size": batch,
                "latency_p50_ms": median_s * 1e3,
                "samples_per_s": batch / median_s,
                "runs": len(times),
            }
        )
    return rows


def main(words: Sequence[str]) -> int:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(prog="python -m loadtest in_process", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(words)
    for row in measure_missing():
        print(
            f"{row['artifact']:24} batch {row['batch_size']:3}  p50 {row['latency_p50_ms']:8.3f} ms"
            f"  {row['samples_per_s']:10,.0f} samples/s"
        )
    return 0


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
