"""A comparison of planted servers, through the path of `make compare`: rounds, starts, blocks, analysis.

What it finds is every pair of endpoints with the interval of the report's family.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

from contract import RESULTS, StageError, write_whole
from loadtest.analysis.family import critical_value, ratio
from loadtest.analysis.figures import Estimate
from loadtest.analysis.summary import fit_all, read_results
from loadtest.analysis.tiers import is_different
from loadtest.runs.comparison import Comparison, run_comparison
from loadtest.runs.managed_servers import ManagedServer
from loadtest.scenarios import Profile, from_fields

QUESTIONS = {
    "throughput": ("closed-32", "throughput_rps"),
    "latency_alone": ("single_stream", "p50"),
    "latency_open": ("open", "p95"),
}
"""What the report ranks: by question the scenario and the figure."""
CPU = ("closed-32", "cpu_s_per_1000")
"""Ranked too, so of the same family."""

SEED = 1


@dataclass(frozen=True)
class Pair:
    """Two endpoints under one question: how many times as slow `b` is as `a`, whatever the figure's direction."""

    question: str
    a: str
    b: str
    times_as_slow: Estimate

    @property
    def differs(self) -> bool:
        """Whether a difference is seen."""
        return is_different(self.times_as_slow)

    @property
    def half_width(self) -> float:
        """Half of the interval's width, relative."""
        low, high = self.times_as_slow.low, self.times_as_slow.high
        return (high - low) / 2 / self.times_as_slow.value if low is not None and high is not None else math.inf


def compare(folder: Path, profile: Profile, servers: Sequence[ManagedServer], planted: bool = True) -> Path:
    """Measure the servers as `make compare` does, always anew: the folder of the results, in `folder`."""
    name = str((folder / "comparison").relative_to(RESULTS))
    comparison = Comparison(name, profile, SEED, (), command=f"crosscheck {name}")
    shutil.rmtree(comparison.folder, ignore_errors=True)
    if planted:  # the client's calibration would look for their artifacts in the model repository
        write_whole(comparison.folder / "clients.json", b"[]")
    run_comparison(comparison, servers)
    return comparison.folder


def pairs_of(folder: Path) -> list[Pair]:
    """Every pair of endpoints under every question, with intervals that hold together."""
    comparison = json.loads((folder / "comparison.json").read_bytes())
    scenarios = [from_fields(fields) for fields in comparison["scenarios"]]
    fits = fit_all(read_results(folder, scenarios), scenarios)
    fitted = {key: fits.get(key[0], {}).get(key[1]) for key in (*QUESTIONS.values(), CPU)}
    inferred = [each.fit for each in fitted.values() if each is not None and each.fit.starts > 1]
    if not inferred:
        raise StageError("servers that are started once show no chance differences: choose --profile quick or full")
    critical = critical_value(inferred)
    pairs = []
    for question, key in QUESTIONS.items():
        if (each := fitted[key]) is None:
            continue
        for a, b in combinations(sorted(each.fit.names), 2):
            above, below = (a, b) if question == "throughput" else (b, a)
            pairs.append(Pair(question, a, b, ratio(each.fit, above, below, critical)))
    return pairs


def half_widths(pairs: Iterable[Pair]) -> dict[str, float]:
    """The median half-width of the intervals by question."""
    by_question: dict[str, list[float]] = {}
    for pair in pairs:
        by_question.setdefault(pair.question, []).append(pair.half_width)
    return {question: median(widths) for question, widths in by_question.items()}
