"""The tables of the end-to-end test's figures: a row for every server, a line for every other test that has run."""

from __future__ import annotations

from typing import Any

from k8s.figures import LINES, tables

SUMS = {"requests": 1436, "failures": 0, "wrong_answers": 2}
FIGURES: dict[str, Any] = {
    "ready_s": {"tflite": 9.6, "onnxruntime": 7.2},
    "image_bytes": {"onnxruntime": 363e6, "tflite": 422e6, "models": 275e6},
    "rolling_update": {name: {**SUMS, "ready_s": 6.0, "old_one_gone_s": 23.0} for name in ("onnxruntime", "tflite")},
    "kill": {name: {**SUMS, "ready_again_s": 7.0} for name in ("onnxruntime", "tflite")},
    "loadtest": {"endpoints": 14, "runs": 56, "requests": 34_679, "seconds": 78.0},
    "page": {"ready_s": 12.0, "requests": 2_400},
    "broken_version": SUMS,
    "drain": {**SUMS, "pods_left": 1},
    "autoscaling": {"up_s": 17.0, "most_pods": 3, "down_s": 66.0},
    "training": {
        "pytorch": {"workers": 2, "images": 16_384, "seconds": 37.0, "from_nothing_s": 93.0, "test_accuracy": 0.9721}
    },
}


def test_every_figure_is_shown() -> None:
    lines = tables(FIGURES).splitlines()
    assert lines[2] == "| `onnxruntime` | 363 | 7 | 1,436, 0, 2 | 6 | 23 | 1,436, 0, 2 | 7 |"
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "- Other images: `models` 275 MB." in lines
    assert len([line for line in lines if line.startswith("- ")]) == 1 + len(LINES) + 1


def test_what_has_not_run_has_no_line() -> None:
    figures = {name: value for name, value in FIGURES.items() if name not in {"drain", "training", "page"}}
    markdown = tables(figures)
    assert "drain" not in markdown
    assert "Training" not in markdown
    assert "page" not in markdown


def test_a_cluster_that_only_deployed_has_figures_too() -> None:
    lines = tables({"ready_s": {"tflite": 9.6}}).splitlines()
    assert lines[2:] == ["| `tflite` | n/a | 10 | n/a | n/a | n/a | n/a | n/a |"]
