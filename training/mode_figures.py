"""What a comparison of the execution modes leaves: medians over its rounds, one row for each mode.

`training_modes` of the report is made of these rows; verdicts are made from their `runs` by loadtest.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from contract import FRAMEWORKS, Manifest
from training.distributed import FOLDER as DISTRIBUTED
from training.hyperparameters import MODELS
from training.measure import REFERENCE

# Spelled out here because asking the twins would import both frameworks; a test holds the lists together.
MODES = {"tensorflow": ("xla", "graph", "eager", "fit"), "pytorch": ("eager", "compile")}
INFERENCE_MODES = {"tensorflow": ("eager", "graph", "xla"), "pytorch": ("eager", "export", "compile")}
STRATEGIES = {"tensorflow": "MultiWorkerMirroredStrategy", "pytorch": "DistributedDataParallel"}
SAME_UPDATES = 0.01
"""How far, relatively, the losses of two modes that do the same updates may lie apart in a round."""


@dataclass(frozen=True)
class ModeFigures:
    """One execution mode of a framework: medians over its rounds; None where there is no figure."""

    framework: str
    mode: str
    steps_to_target: int | None = None
    """Until the target accuracy on the test set, counted once per framework."""
    test_accuracy: float | None = None
    seconds_to_target: float | None = None
    """Steps to the target times seconds per step."""
    seconds_per_epoch: float | None = None
    images_per_s: float | None = None
    first_step_s: float | None = None
    peak_rss_bytes: float | None = None
    counted_by: str | None = None
    """The mode that the steps were counted in."""
    loss_difference: float | None = None
    """The largest relative one to that mode in a round."""
    speedup: float | None = None
    """The reference's seconds to the target divided by this mode's: the median of `speedups`, one for each round."""
    speedups: list[float] = field(default_factory=list)
    missing: str | None = None
    """Why there are no figures."""
    rounds: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    """The figures of each round."""


@dataclass(frozen=True)
class InferenceFigures:
    """One way of calling a trained model in its own process, at one batch size: medians over its runs."""

    framework: str
    mode: str
    batch_size: int
    latency_p50_ms: float | None
    samples_per_s: float | None
    first_s: float | None
    runs: list[float]
    """The latency of each run, in milliseconds."""


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
            row = summed_up_mode(framework, mode, rows, count, counted)
            seconds = {run["round"]: run["seconds_to_target"] for run in row.runs if run["seconds_to_target"]}
            reference = reference or seconds
            ratios = [reference[number] / seconds[number] for number in seconds if number in reference]
            row = replace(row, speedups=ratios, speedup=statistics.median(ratios) if ratios else None)
            modes.append(asdict(row))
    facts = {"target_accuracy": options.target_accuracy, "rounds": options.rounds, "steps": options.steps}
    lists = {"modes": modes, "inference": medians_of(inference), "distributed": distributed()}
    return lists | {"counts": {f"{c['framework']} {c['mode']}": c for c in counts}} | facts


def summed_up_mode(
    framework: str, mode: str, rows: list[dict[str, Any]], count: dict[str, Any], counted: dict[int, float]
) -> ModeFigures:
    """A mode's medians over its pieces; the count is its own where its losses are those of the counted mode."""
    runs = [row for row in rows if "round" in row]
    timed = losses(runs)
    apart = max((abs(timed[number] / counted[number] - 1) for number in timed if number in counted), default=None)
    known = count if apart is not None and apart <= SAME_UPDATES else {}
    steps = known.get("steps_to_target")
    runs = [run | {"seconds_to_target": steps * run["seconds_per_step"] if steps else None} for run in runs]
    return ModeFigures(
        framework,
        mode,
        steps_to_target=steps,
        test_accuracy=known.get("test_accuracy"),
        seconds_to_target=median(runs, "seconds_to_target"),
        seconds_per_epoch=median(runs, "seconds_per_epoch"),
        images_per_s=median(runs, "images_per_s"),
        first_step_s=median(runs, "first_step_s"),
        peak_rss_bytes=median(rows, "peak_rss_bytes"),
        counted_by=known.get("mode"),
        loss_difference=apart,
        missing=next((row["missing"] for row in rows if "missing" in row), count.get("missing")),
        rounds=len(runs),
        runs=runs,
    )


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
        figures = InferenceFigures(
            *key,
            latency_p50_ms=median(repeats, "latency_p50_ms"),
            samples_per_s=median(repeats, "samples_per_s"),
            first_s=median(repeats, "first_s"),
            runs=[row["latency_p50_ms"] for row in repeats],
        )
        rows.append(asdict(figures))
    return rows
