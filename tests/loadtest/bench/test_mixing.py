"""The benchmark of mixed-up answers sees a mix-up: its models, its inputs, its check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contract import Manifest, TensorSpec
from loadtest.bench.dependent_models import MODELS, DependentModel, random_inputs
from loadtest.bench.mixing import MOST_ROWS, REQUESTS, page, table, target_of
from loadtest.client.requests import Answer
from serving.server import Endpoint

SPECS = tuple((TensorSpec(name, "FP32", (-1, 4)),) for name in ("x", "y"))
MANIFEST = Manifest("m-onnx", "custom", "onnx", "1", *SPECS, {}, 0)
ROW: dict[str, Any] = {"server": "s", "protocol": "rest", "clients": 2, "right": 1000, "wrong": 0, "refused": 0,
                       "failed": 1}  # fmt: skip


def random_pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random_inputs(3, random), random_inputs(2, random)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_rows_depend_on_each_other(model: DependentModel) -> None:
    """What would be answered if two requests shared a run differs visibly from the right answer."""
    first, second = random_pair()
    right = model.expected(first)
    before = model.expected(np.concatenate([first, second]))[: len(first)]
    behind = model.expected(np.concatenate([second, first]))[-len(first) :]
    assert any(mixed.shape != right.shape or np.abs(mixed - right).max() > 1e-2 for mixed in (before, behind))


def test_every_request_passes_the_filter_with_a_row() -> None:
    random = np.random.default_rng(4)
    assert all((random_inputs(rows, random)[:, 0] > 0).sum() >= 1 for rows in range(1, MOST_ROWS + 1))


def test_an_answer_meant_for_another_request_is_wrong() -> None:
    model = MODELS[0]
    target = target_of(Endpoint("onnxruntime", "m-onnx", "rest", 1), MANIFEST, model)
    random = np.random.default_rng(7)
    inputs = [random_inputs(1 + number % MOST_ROWS, random) for number in range(REQUESTS)]
    answers = [model.expected(x) for x in inputs]
    assert target.fault(7, _answer(answers[7])) == ""
    assert "off by" in target.fault(7, _answer(answers[12]))  # as many rows
    assert target.fault(7, _answer(answers[8])) == "shape [4, 4], expected [3, 4]"


def _answer(y: np.ndarray) -> Answer:
    import orjson

    tensor = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
    return Answer(200, b"HTTP/1.1 200 OK", orjson.dumps({"outputs": [tensor]}))


def test_the_table_adds_the_models_up() -> None:
    rows = [ROW, {**ROW, "wrong": 3}, {**ROW, "clients": 32}]
    lines = table(rows).splitlines()[2:]
    assert lines == ["| s | rest | 2 | 2 | 2,000 | 3 | 0 | 2 |", "| s | rest | 32 | 1 | 1,000 | 0 | 0 | 1 |"]
    assert lines[0] in page({"rows": rows, "environment": {"git_commit": "c"}, "seconds": 0.4})
