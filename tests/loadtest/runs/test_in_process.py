"""What a model takes without a server: rows are counted as they were run, and slow models end in time."""

from __future__ import annotations

import numpy as np
import pytest

from contract import Manifest, TensorSpec
from loadtest.runs.in_process import LONGEST_S, RUNS, batch_sizes, describe, time_runs


class Clock:
    """A clock that only a run moves on."""

    def __init__(self, run_s: float) -> None:
        self.run_s, self.now_s = run_s, 0.0

    def __call__(self) -> float:
        return self.now_s

    def run(self) -> None:
        self.now_s += self.run_s


def manifest(batch: int) -> Manifest:
    spec = (TensorSpec("x", "FP32", (batch, 2)),)
    return Manifest("m", "pytorch", "onnx", "1", spec, spec, {}, 0)


@pytest.mark.parametrize(
    ("batch", "samples", "sizes"),
    [(-1, 100, [1, 32]), (-1, 1, [1]), (-1, 7, [1, 7]), (1, 100, [1]), (4, 100, [4])],
)
def test_no_more_rows_are_run_than_there_are(batch: int, samples: int, sizes: list[int]) -> None:
    assert batch_sizes(manifest(batch), samples) == sizes


def test_samples_per_second_count_the_rows_that_ran() -> None:
    row = describe("m", 7, np.full(50, 0.01))
    assert row.samples_per_s == pytest.approx(700)
    assert row.latency_p50_ms == pytest.approx(10)
    assert row.latency_low_ms == row.latency_high_ms == pytest.approx(10)


@pytest.mark.parametrize(("run_s", "runs"), [(0.001, 400), (0.1, 16), (1.0, 3), (30.0, 1)])
def test_a_slow_model_ends_in_time(run_s: float, runs: int) -> None:
    clock = Clock(run_s)
    times_s = time_runs(clock.run, clock)
    assert len(times_s) == pytest.approx(runs, abs=2)
    assert clock.now_s <= max(LONGEST_S + run_s, 2 * run_s)
    assert len(times_s) >= RUNS * 0.8 or clock.now_s >= LONGEST_S
