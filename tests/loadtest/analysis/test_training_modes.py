"""The figures of `training.compare`: from rounds, never from one, and never on what was not measured."""

from __future__ import annotations

import json

import pytest

from contract import ROOT
from loadtest.analysis.training_modes import read_training_modes


def row(framework, mode, seconds, missing=None):
    runs = [{"round": i, "seconds_to_target": s, "images_per_s": 1000 / s} for i, s in enumerate(seconds)]
    middle = sorted(seconds)[len(seconds) // 2] if seconds else None
    return {"framework": framework, "mode": mode, "seconds_to_target": middle, "runs": runs, "missing": missing}


ROWS = (
    row("tensorflow", "reference", [60.0, 61.0, 60.5]),
    row("tensorflow", "xla", [12.0, 12.1, 12.2]),
    row("tensorflow", "graph", [14.0, 14.2, 14.1]),
    row("pytorch", "reference", [90.0, 91.0, 90.2]),
    row("pytorch", "eager", [12.3, 12.2, 12.4]),
    row("pytorch", "compile", [], "needs a C++ compiler"),
)


@pytest.fixture
def read(tmp_path):
    def read_rows(rows=ROWS):
        path = tmp_path / "training.json"
        path.write_text(json.dumps({"target_accuracy": 0.98, "rounds": 3, "modes": list(rows)}))
        return read_training_modes(path)

    return read_rows


def test_ratios_are_the_fastest_against_the_reference_and_each_other(read):
    pairs = [(ratio.slower, ratio.faster) for ratio in read().ratios]
    assert pairs == [
        ("tensorflow reference", "tensorflow xla"),
        ("pytorch reference", "pytorch eager"),
        ("pytorch eager", "tensorflow xla"),
    ]
    assert all(ratio.ratio.low < ratio.ratio.value < ratio.ratio.high for ratio in read().ratios)
    assert read().ratios[0].ratio.value == pytest.approx(5.0, rel=0.01)


def test_a_missing_mode_keeps_its_reason_and_has_no_figure(read):
    (missing,) = [mode for mode in read().modes if mode.mode == "compile"]
    assert missing.missing == "needs a C++ compiler"
    assert missing.seconds_to_target is None


def test_one_round_gives_neither_interval_nor_ratio(read):
    found = read({**mode, "runs": mode["runs"][:1]} for mode in ROWS)
    assert found.ratios == ()
    assert found.modes[0].seconds_to_target.low is None


def test_intervals_come_from_the_rounds(read):
    estimate = read().modes[1].seconds_to_target
    assert estimate.low < 12.1 < estimate.high


def test_the_published_figures_can_be_read(tmp_path):
    modes = read_training_modes(ROOT / "docs" / "benchmarks" / "training.json")
    assert len(modes.modes) >= 6
    assert {run.framework for run in modes.distributed} == {"tensorflow", "pytorch"}
    assert read_training_modes(tmp_path / "none.json") is None
