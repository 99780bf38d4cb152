"""The gate: what it measures, what it refuses, with which figures."""

from __future__ import annotations

import numpy as np
import pytest

from contract import Batching, StageError, TensorSpec, Tolerance
from export.format import LoadedModel
from export.parity import BATCH_SIZES, OutputParity, Parity, compare, row_differences, tolerances_of

SCORES = np.eye(4, dtype=np.float32)[np.arange(100) % 4]


def model_that(answer) -> LoadedModel:
    spec = TensorSpec("scores", "FP32", (-1, 4))
    return LoadedModel((TensorSpec("x", "FP32", (-1, 4)),), (spec,), lambda t: {"scores": answer(t["x"])})


def compared(model, expected=SCORES, **options) -> Parity:
    options = {"tolerances": {"scores": Tolerance(1e-5)}, "batching": Batching("proven"), **options}
    return compare(model, {"x": SCORES}, {"scores": expected}, "m", **options)[0]


def test_compare_runs_every_sample_and_every_batch_size():
    sizes = []
    parity = compared(model_that(lambda x: sizes.append(len(x)) or x), scores="scores")
    assert set(sizes) >= {64, 36, 1, 2, 7}
    assert (parity.max_abs_diff, parity.label_agreement, parity.samples) == (0.0, 1.0, 100)
    assert parity.batch_sizes == BATCH_SIZES
    assert not parity.failures


def test_compare_runs_a_model_without_proven_batching_sample_by_sample():
    sizes = []
    compared(model_that(lambda x: sizes.append(len(x)) or x), batching=Batching("refused", "a filter"))
    assert sizes == [1] * 100


def test_compare_sees_a_difference_in_one_batch_size_only():
    parity = compared(model_that(lambda x: x + 2e-5 if len(x) == 7 else x))
    assert parity.failures == [
        "output 'scores' of sample 0: largest difference 2.00e-05, allowed 1.00e-05; 98 of 100 samples are wrong"
    ]


def test_compare_names_the_sample_and_how_many_are_wrong():
    def off_by_a_half(x):
        return x + np.where(np.arange(len(x)) == 17, 0.5, 0)[:, None] if len(x) == 64 else x

    assert compared(model_that(off_by_a_half)).failures == [
        "output 'scores' of sample 17: largest difference 5.00e-01, allowed 1.00e-05; 1 of 100 samples are wrong"
    ]


def test_parity_refuses_another_label_even_inside_the_tolerance():
    parity = Parity({"scores": OutputParity(1e-6, 1e-5, 0, 0)}, 0.9999, 10_000, BATCH_SIZES)
    assert parity.failures == ["same label on 99.990% of 10,000 samples, wanted on all"]


def test_tolerance_grows_with_the_scale_of_an_output():
    prices = np.array([[54_000.0], [329_000.0], [np.inf]], np.float32)
    assert tolerances_of({"price": prices}, 1e-4, 1e-4)["price"].allowed == pytest.approx(32.9001)
    assert tolerances_of({"label": np.array([3])}, 1e-4, 1e-4)["label"].allowed == 0


@pytest.mark.parametrize(
    ("answer", "expected", "off"),
    [
        (np.float32([np.nan, 1]), np.float32([np.nan, 1]), 0),
        (np.float32([-np.inf, 1]), np.float32([-np.inf, 1]), 0),
        (np.float32([np.inf, 1]), np.float32([-np.inf, 1]), np.inf),
        (np.float32([np.nan, 1]), np.float32([1, 1]), np.inf),
        (np.array([True, False]), np.array([True, True]), np.inf),
        (np.array([2**53 + 1]), np.array([2**53]), 1),
        (np.array([b"a", b"b"], np.object_), np.array([b"a", b"c"], np.object_), np.inf),
        (np.uint8([3]), np.uint8([250]), 247),
    ],
)
def test_difference_of_what_is_no_ordinary_number(answer, expected, off):
    assert row_differences(answer[None], expected[None]).tolist() == [off]


def test_compare_refuses_answers_of_another_shape():
    with pytest.raises(
        StageError, match=r"sample 0, in a batch of 64, is answered with 'scores' of shape \[1, 4\], expected \[64, 4\]"
    ):
        compared(model_that(lambda x: x[:1]))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [("y", "scores", r"inputs are \['x'\], the samples have \['y'\]"), ("x", "z", r"outputs are \['scores'\]")],
)
def test_compare_refuses_other_names(inputs, outputs, message):
    with pytest.raises(StageError, match=message):
        compare(model_that(lambda x: x), {inputs: SCORES}, {outputs: SCORES}, "m", {outputs: Tolerance()})
