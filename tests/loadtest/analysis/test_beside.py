"""A report has nothing of another model's: what stands beside the comparison is taken for its artifacts alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.analysis import beside

ROW = {"batch_size": 1, "latency_p50_ms": 1.0, "latency_low_ms": 0.9, "latency_high_ms": 1.1, "samples_per_s": 1e3,
       "runs": 50}  # fmt: skip


def test_only_the_comparisons_artifacts_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {**ROW, "artifact": "mine", "sha256": {"model.onnx": "1"}},
        {**ROW, "artifact": "mine", "sha256": {"model.onnx": "an older file's"}},
        {**ROW, "artifact": "mnist", "sha256": {"model.onnx": "1"}},
        {"artifact": "mine", "sha256": {"model.onnx": "1"}, "reason": "it needs two inputs"},
    ]
    monkeypatch.setattr(beside, "IN_PROCESS", tmp_path / "in_process.json")
    (tmp_path / "in_process.json").write_text(json.dumps(rows))
    assert [row.artifact for row in beside.read_in_process({"mine": {"model.onnx": "1"}})] == ["mine"]


def test_only_the_comparisons_endpoints_have_conformance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "CONFORMANCE", tmp_path / "conformance.json")
    (tmp_path / "conformance.json").write_text(json.dumps([{"endpoint": "s/other/rest", "cases": []}]))
    assert beside.read_conformance({"s/mine/rest"}) == ()


def test_training_of_another_framework_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MODELS", tmp_path / "none")
    assert beside.describe_training({"pytorch"}) == ()
