"""The blocks of all endpoints under one scenario, fitted figure by figure. Pure but for reading the raw times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from loadtest.analysis.blocks import Block, log_figures
from loadtest.analysis.drift import Levels, fit_levels
from loadtest.analysis.intervals import QUANTILES
from loadtest.analysis.levels import Fit, combine
from loadtest.analysis.result import Result, read_blocks


@dataclass
class Measured:
    """The runs of one endpoint under one scenario, by round."""

    results: list[Result] = field(default_factory=list)
    raws: list[Path] = field(default_factory=list)

    @cached_property
    def blocks(self) -> list[list[Block]]:
        """The figures of each round's blocks; read once."""
        made = zip(self.results, self.raws, strict=True)
        return [read_blocks(result, raw) for result, raw in made if not result.preflight_error]

    @property
    def latencies_ms(self) -> np.ndarray:
        """Of all right answers that count, ascending."""
        parts = [block.latencies_ms for blocks in self.blocks for block in blocks]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0)

    def logs(self, number: int, figure: str) -> np.ndarray:
        """The logarithm of a figure of each block of one round."""
        blocks = self.blocks[number]
        if figure == "cpu_s_per_1000":
            used = [(use.server_cpu_s or 0.0) / max(1, use.right_answers) * 1000 for use in self.results[number].blocks]
            return _log(used)
        if figure in QUANTILES:
            return log_figures(blocks, "latency", QUANTILES[figure])
        return log_figures(blocks, figure)


@dataclass(frozen=True)
class Fitted:
    """A figure of all endpoints under a scenario."""

    fit: Fit
    drifts: tuple[np.ndarray, ...]
    """Of each start: the drift at each of its blocks."""
    residuals: Mapping[str, np.ndarray]
    """By endpoint, over all starts."""


def fit_figure(measured: Mapping[str, Measured], figure: str) -> Fitted | None:
    """Fit one figure over the endpoints that have it in every round; None where there are none."""
    rounds = max((len(runs.blocks) for runs in measured.values()), default=0)
    names = [name for name, runs in measured.items() if len(runs.blocks) == rounds and _has(runs, figure)]
    if not names or not rounds:
        return None
    starts: list[Levels] = []
    residuals: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number in range(rounds):
        values, endpoints, times = _blocks_of([measured[name] for name in names], number, figure)
        levels = fit_levels(values, endpoints, times)
        starts.append(levels)
        for index, name in enumerate(names):
            residuals[name].append(levels.residuals[endpoints == index])
    joined = {name: np.concatenate(parts) for name, parts in residuals.items()}
    return Fitted(combine(names, starts), tuple(levels.drift for levels in starts), joined)


def _has(runs: Measured, figure: str) -> bool:
    return all(np.isfinite(runs.logs(number, figure)).any() for number in range(len(runs.blocks)))


def _blocks_of(runs: Sequence[Measured], number: int, figure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = [each.logs(number, figure) for each in runs]
    times = [np.array([block.began_s for block in each.blocks[number]]) for each in runs]
    endpoints = np.concatenate([np.full(len(part), index) for index, part in enumerate(values)])
    joined = np.concatenate(values)
    finite = np.isfinite(joined)
    return joined[finite], endpoints[finite], np.concatenate(times)[finite]


def _log(values: Sequence[float]) -> np.ndarray:
    logs: np.ndarray = np.log(np.array([value or np.nan for value in values], float))
    return logs
