"""The gate: planted slowdowns and speed-ups, noise, and input that can't tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.__main__ import main


def report(path: Path, slower: float = 1.0, rounds: int = 5, seed: int = 0, **point: Any) -> str:
    """A report of two endpoints whose requests take `slower` times as long."""
    random = np.random.default_rng(seed)
    runs = [
        {"throughput_rps": 1000 / slower * noise, "p50_ms": 1.0 * slower / noise}
        for noise in np.exp(random.normal(0, 0.01, rounds))
    ]
    points = [{"name": name, "validity": "VALID", "runs": runs, **point} for name in ("single_stream", "closed-32")]
    endpoints = [{"name": name, "scenarios": points} for name in ("s/a/rest", "s/a/grpc")]
    path.write_text(json.dumps({"endpoints": endpoints}))
    return str(path)


def gate(tmp_path: Path, candidate: str, bound: str = "10%") -> int:
    baseline = report(tmp_path / "a.json", seed=1)
    return main(["gate", "--baseline", baseline, "--candidate", candidate, "--max-regression", bound])


@pytest.mark.parametrize(
    ("slower", "bound", "status", "said"),
    [
        (1.0, "10%", 0, "PASS: none beyond 10%"),
        (1.05, "10%", 0, "worse"),
        (1.25, "10%", 1, "FAIL: 4 beyond 10%"),
        (1.25, "0.5", 0, "PASS: none beyond 50%"),
        (0.8, "10%", 0, "better"),
    ],
)
def test_the_gate_judges_planted_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], slower: float, bound: str, status: int, said: str
) -> None:
    assert gate(tmp_path, report(tmp_path / "b.json", slower, seed=2), bound) == status
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "can't be read"),
        ("[1]", "has no key `endpoints`"),
        ('{"endpoints": [{"name": "x"}]}', "is no report of this version"),
        ('{"endpoints": []}', "the candidate has no VALID figures of s/a/grpc, s/a/rest"),
    ],
)
def test_unusable_input_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str) -> None:
    (tmp_path / "b.json").write_text(content)
    assert gate(tmp_path, str(tmp_path / "b.json")) == 2
    assert said in capsys.readouterr().err


def test_an_invalid_candidate_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(tmp_path, report(tmp_path / "b.json", validity="INVALID")) == 2
    assert "measure both the same way" in capsys.readouterr().err


def test_one_round_exits_2(tmp_path: Path) -> None:
    assert gate(tmp_path, report(tmp_path / "b.json", rounds=1)) == 2


def test_a_bound_that_is_none_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(tmp_path, report(tmp_path / "b.json"), "ten") == 2
    assert "--max-regression 'ten' is no share: write 10% or 0.1" in capsys.readouterr().err
