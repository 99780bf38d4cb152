"""The warm-up: real samples alone, within a time, never of a model with state; a failure is a line in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import Tensors, TensorSpec
from export.format import LoadedModel
from serving.hosting.run_placement import RunPlacement
from serving.hosting.served_model import WARM_UP_RUNS, WARM_UP_S, warm_up

SPEC = (TensorSpec("x", "FP32", (-1, 2)),)


class Recorder:
    """A model that keeps what it was run on, and takes `row_s` a row on a clock of its own."""

    def __init__(self, row_s: float = 0.0, error: Exception | None = None) -> None:
        self.inputs: list[np.ndarray] = []
        self.now_s = 0.0
        self._row_s, self._error = row_s, error

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        self.inputs.append(inputs["x"])
        self.now_s += self._row_s * len(inputs["x"])
        if self._error is not None:
            raise self._error
        return {"x": inputs["x"]}

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three samples."""
    np.savez(tmp_path / "samples.npz", **{"inputs/x": np.float32([[1, 2], [3, 4], [5, 6]])})
    return tmp_path


def run(model: Recorder, repository: Path, rows: int = 4, stateful: str = "", **options: Any) -> RunPlacement:
    placement = RunPlacement()
    warm_up("m", LoadedModel(SPEC, SPEC, model, stateful), repository, rows, placement, model.clock, **options)
    return placement


def test_warm_up_runs_samples_alone_and_together(repository: Path) -> None:
    model = Recorder()
    placement = run(model, repository)
    assert [len(x) for x in model.inputs] == [1, 1, *[4] * WARM_UP_RUNS]
    assert model.inputs[-1].tolist() == [[1, 2], [3, 4], [5, 6], [1, 2]]
    assert [placement.in_thread(size) for size in (4 * 8, 4 * 8 + 1)] == [False, True]


def test_long_runs_are_known_to_be_long_before_the_first_request(repository: Path) -> None:
    assert run(Recorder(row_s=0.02), repository, rows=1).in_thread(8)


def test_warm_up_ends_in_time(repository: Path) -> None:
    model = Recorder(row_s=0.46)
    run(model, repository, rows=32)
    assert [len(x) for x in model.inputs] == [1, 1]
    assert model.now_s <= WARM_UP_S


def test_model_is_never_run_on_invented_inputs(tmp_path: Path) -> None:
    model = Recorder()
    run(model, tmp_path)
    assert model.inputs == []


def test_model_with_state_is_never_warmed_up(repository: Path) -> None:
    model = Recorder()
    run(model, repository, stateful="tensor 'h' is a variable")
    assert model.inputs == []


def test_failure_is_a_line_in_the_log(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Recorder(error=ValueError("Integer division by zero")), repository)
    assert capsys.readouterr().err == "m: the warm-up failed: ValueError: Integer division by zero\n"
