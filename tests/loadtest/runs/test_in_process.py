"""What a model takes without a server: rows are counted as they were run, and slow models end in time."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from contract import Manifest, StageError, TensorSpec
from loadtest.runs import in_process
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


def test_an_artifact_that_fails_has_a_reason_and_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_to_end(argv: tuple[str, ...], *_: object) -> str:
        if argv[-1] == "broken":
            raise StageError("broken answers wrongly in process: output y is off by 3")
        return json.dumps([asdict(describe(argv[-1], 1, np.full(20, 0.01)))])

    monkeypatch.setattr(in_process, "OUTPUT", tmp_path / "in_process.json")
    monkeypatch.setattr(in_process, "run_to_end", run_to_end)
    monkeypatch.setattr(in_process, "read_artifacts", lambda: {"broken": manifest(-1), "sound": manifest(-1)})
    broken, sound = in_process.measure_missing()
    assert broken == {
        "artifact": "broken",
        "sha256": {},
        "reason": "broken answers wrongly in process: output y is off by 3",
    }
    assert sound["latency_p50_ms"] == pytest.approx(10)
    assert json.loads((tmp_path / "in_process.json").read_bytes()) == [broken, sound]
