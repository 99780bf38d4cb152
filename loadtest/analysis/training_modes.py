"""What `training.compare` measured: execution modes, training on several processes, inference in process.

`read_training_modes(path)` reads its file, `artifacts/<model>/results/training.json`, whose fields
`training/compare.py` describes, and puts an interval around what was measured in rounds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

from loadtest.analysis.figures import Estimate

REFERENCE = "reference"
"""The mode that stands for the loop that tutorials show."""
FIGURES = ("seconds_to_target", "seconds_per_epoch", "images_per_s", "first_step_s")
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Mode:
    """One execution mode of a framework."""

    framework: str
    mode: str
    seconds_to_target: Estimate | None = None
    seconds_per_epoch: Estimate | None = None
    images_per_s: Estimate | None = None
    first_step_s: Estimate | None = None
    peak_rss_bytes: int | None = None
    test_accuracy: float | None = None
    missing: str = ""
    """Why there are no figures, "" where there are."""

    @property
    def name(self) -> str:
        """`tensorflow xla`."""
        return f"{self.framework} {self.mode}"


@dataclass(frozen=True)
class InferenceMode:
    """A way of calling a trained model in its own process, without a server."""

    framework: str
    mode: str
    batch_size: int
    latency_p50_ms: Estimate | None
    samples_per_s: float | None
    first_s: float | None


@dataclass(frozen=True)
class DistributedRun:
    """Training on several processes."""

    framework: str
    strategy: str
    workers: int
    seconds_per_epoch: float | None
    test_accuracy: float | None
    single_process_accuracy: float | None


@dataclass(frozen=True)
class ModeRatio:
    """Seconds to the target accuracy of `slower` divided by those of `faster`."""

    slower: str
    faster: str
    ratio: Estimate
    """Simultaneous over all ratios of the file."""


@dataclass(frozen=True)
class TrainingModes:
    """All of it."""

    target_accuracy: float
    rounds: int
    modes: tuple[Mode, ...]
    inference: tuple[InferenceMode, ...] = ()
    distributed: tuple[DistributedRun, ...] = ()
    ratios: tuple[ModeRatio, ...] = ()


def read_training_modes(path: Path) -> TrainingModes | None:
    """The figures in the file at `path`, None where there is none."""
    if not path.is_file():
        return None
    fields = json.loads(path.read_bytes())
    rows = _list(fields, "modes")
    return TrainingModes(
        target_accuracy=float(fields["target_accuracy"]),
        rounds=int(fields["rounds"]),
        modes=tuple(map(_mode, rows)),
        inference=tuple(map(_inference, _list(fields, "inference"))),
        distributed=tuple(map(_distributed, _list(fields, "distributed"))),
        ratios=_ratios(rows),
    )


def _mode(row: Fields) -> Mode:
    estimates = {name: _estimate(row[name], _rounds(row, name)) for name in FIGURES if name in row}
    missing = row.get("missing")
    return Mode(
        row["framework"],
        row["mode"],
        **estimates,
        peak_rss_bytes=_optional(row, "peak_rss_bytes"),
        test_accuracy=_optional(row, "test_accuracy"),
        missing=missing or "",
    )


def _inference(row: Fields) -> InferenceMode:
    latency = _estimate(row["latency_p50_ms"], [float(value) for value in row["runs"]])
    figures = (_optional(row, "samples_per_s"), _optional(row, "first_s"))
    return InferenceMode(row["framework"], row["mode"], row["batch_size"], latency, *figures)


def _distributed(row: Fields) -> DistributedRun:
    names = ("seconds_per_epoch", "test_accuracy", "single_process_accuracy")
    return DistributedRun(row["framework"], row["mode"], row["workers"], *(_optional(row, name) for name in names))


def _ratios(rows: Sequence[Fields]) -> tuple[ModeRatio, ...]:
    """Each framework's fastest mode against its reference, and the fastest of both frameworks against each other."""
    rounds = {f"{row['framework']} {row['mode']}": _rounds(row, "seconds_to_target") for row in rows}
    fastest: dict[str, str] = {}
    for name, seconds in sorted(rounds.items(), key=lambda item: fmean(item[1]) if item[1] else math.inf):
        framework, _, mode = name.partition(" ")
        if mode != REFERENCE and seconds:
            fastest.setdefault(framework, name)
    pairs = [(f"{framework} {REFERENCE}", name) for framework, name in fastest.items()]
    if len(fastest) == 2:
        quick, slow = fastest.values()
        pairs.append((slow, quick))
    known = [
        (slow, quick) for slow, quick in pairs if slow in rounds and min(len(rounds[slow]), len(rounds[quick])) > 1
    ]
    level = 1 - 0.05 / max(1, len(known))  # Bonferroni: the ratios hold together
    return tuple(ModeRatio(slow, quick, _ratio(rounds[slow], rounds[quick], level)) for slow, quick in known)


def _ratio(slow: Sequence[float], quick: Sequence[float], level: float) -> Estimate:
    """Within rounds, whose order is random: what slows the machine down for a round slows both modes down."""
    logs = [math.log(a / b) for a, b in zip(slow, quick, strict=False)]
    return _interval(math.exp(fmean(logs)), logs, level)


def _estimate(value: float | None, rounds: Sequence[float]) -> Estimate | None:
    if value is None:
        return None
    if len(set(rounds)) < 2:  # measured once, it stands in every round
        return Estimate(float(value))
    return _interval(float(value), [math.log(figure) for figure in rounds], 0.95)


def _interval(value: float, logs: Sequence[float], level: float) -> Estimate:
    """Student's interval of the mean of the logarithms."""
    degrees = len(logs) - 1
    error = stdev(logs) / math.sqrt(len(logs))
    reach = float(t.ppf((1 + level) / 2, degrees)) * error
    return Estimate(value, math.exp(fmean(logs) - reach), math.exp(fmean(logs) + reach), error, float(degrees))


def _rounds(row: Fields, name: str) -> list[float]:
    runs = row.get("runs") or []
    return [
        float(run[name]) for run in runs if isinstance(run, Mapping) and isinstance(_optional(run, name), int | float)
    ]


def _optional(row: Fields, name: str) -> Any:
    return row.get(name)


def _list(fields: Fields, name: str) -> list[Fields]:
    return list(fields.get(name) or [])
