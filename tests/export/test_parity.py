"""The gate: what it measures, what it refuses, with which figures."""

from __future__ import annotations

import numpy as np
import pytest

from contract import StageError, TensorSpec
from export.format import LoadedModel
from export.parity import BATCH_SIZES, Parity, compare

SCORES = np.eye(4, dtype=np.float32)[np.arange(100) % 4]


def model_that(answer) -> LoadedModel:
    spec = TensorSpec("scores", "FP32", (-1, 4))
    return LoadedModel((TensorSpec("x", "FP32", (-1, 4)),), (spec,), lambda t: {"scores": answer(t["x"])})


def test_compare_runs_every_sample_and_every_batch_size():
    sizes = []
    parity, answers = compare(model_that(lambda x: sizes.append(len(x)) or x), {"x": SCORES}, {"scores": SCORES}, "m")
    assert set(sizes) >= {64, 36, 1, 2, 7}
    assert (parity.max_abs_diff, parity.label_agreement, parity.images) == (0.0, 1.0, 100)
    assert parity.batch_sizes == BATCH_SIZES
    assert not parity.failures
    assert np.array_equal(answers["scores"], SCORES)


def test_compare_sees_a_difference_in_one_batch_size_only():
    def sloppy(x):
        return x + 2e-5 if len(x) == 7 else x

    parity, _ = compare(model_that(sloppy), {"x": SCORES}, {"scores": SCORES}, "m")
    assert parity.failures == ["largest difference 2.00e-05, allowed 1e-05"]


def test_parity_refuses_another_label_even_inside_the_tolerance():
    parity = Parity(1e-6, 0.9999, 10_000, BATCH_SIZES)
    assert parity.failures == ["same label on 99.990% of 10,000 images, wanted on all"]


def test_parity_refuses_answers_that_are_no_numbers():
    parity, _ = compare(model_that(lambda x: x * np.nan), {"x": SCORES}, {"scores": SCORES}, "m")
    assert "largest difference nan, allowed 1e-05" in parity.failures


def test_compare_refuses_answers_of_another_shape():
    with pytest.raises(
        StageError, match=r"a batch of 64 is answered with 'scores' of shape \(1, 4\), expected \(64, 4\)"
    ):
        compare(model_that(lambda x: x[:1]), {"x": SCORES}, {"scores": SCORES}, "m")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [("y", "scores", r"inputs are \['x'\], the samples have \['y'\]"), ("x", "z", r"outputs are \['scores'\]")],
)
def test_compare_refuses_other_names(inputs, outputs, message):
    with pytest.raises(StageError, match=message):
        compare(model_that(lambda x: x), {inputs: SCORES}, {outputs: SCORES}, "m")
