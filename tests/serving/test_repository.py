"""Samples: what one request takes of them, which answers are right, which samples can be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contract import StageError, Tolerance
from export.samples import read_arrays, save
from serving.repository import Samples

PRICES = np.float32([[250_000], [54_000], [np.inf], [np.nan]])
TEXTS = np.array([["zürich"], ["10"], ["日本"], [""]])


def samples(**outputs: np.ndarray) -> Samples:
    return Samples({"x": np.arange(4.0)[:, None]}, {"a": outputs}, None, "")


@pytest.mark.parametrize("row", range(4))
def test_fault_finds_none_in_the_expected_answer(row):
    assert (
        samples(price=PRICES, ok=PRICES > 1).fault({"price": PRICES[[row]], "ok": PRICES[[row]] > 1}, "a", [row]) == ""
    )


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ({}, "there is no output 'price', only "),
        ({"price": PRICES[[0, 1]]}, "output 'price' has shape [2, 1], expected [1, 1]"),
        ({"price": PRICES[[0]] + 1}, "output 'price' is off by 1 (at most 0.0001 is right)"),
        ({"price": PRICES[[2]]}, "output 'price' is not equal to the expected answer in its text, infinities or NaN"),
    ],
)
def test_fault_says_what_is_wrong(outputs, fault):
    assert samples(price=PRICES).fault(outputs, "a", [0]) == fault


def test_fault_knows_the_scale_of_an_output():
    scaled = replace(samples(price=PRICES), tolerances={"a": {"price": Tolerance(1e-4, 1e-4, 250_000.0)}})
    assert scaled.fault({"price": PRICES[[0]] + 25}, "a", [0]) == ""
    assert "off by 26 (at most 25 is right)" in scaled.fault({"price": PRICES[[0]] + 26}, "a", [0])


@pytest.mark.parametrize(
    ("expected", "distinct"),
    [
        (PRICES, 4),
        (np.zeros((4, 1)), 1),
        (np.float32([[1], [1], [2], [1]]), 2),
        (np.float32([[0], [5e-5], [0], [0]]), 1),
    ],
)
def test_distinct_counts_the_answers_that_can_be_told_apart(expected, distinct):
    assert samples(y=expected).distinct("a") == distinct


def test_take_gives_whole_tensors_of_one_sample_where_the_batch_is_not_first():
    inputs = {"x": np.ones((4, 5)), "state": np.ones((4, 2, 1, 3)), "rate": np.arange(4)}
    states = Samples(inputs, {}, None, "", {"x": 2, "state": 3, "rate": 0})
    assert {name: array.shape for name, array in states.take([3]).items()} == {
        "x": (1, 5), "state": (2, 1, 3), "rate": (),
    }  # fmt: skip
    with pytest.raises(StageError, match="the samples of 'state' are whole tensors, 2 make no batch: take one"):
        states.take([0, 1])


@pytest.mark.parametrize("array", [TEXTS, TEXTS.astype(object)])
def test_strings_are_kept_as_bytes(array, tmp_path):
    items = np.array([text.encode() for text in TEXTS.ravel()], object).reshape(4, 1)
    save(tmp_path, {"inputs/x": items if array.dtype == object else array})
    assert read_arrays(tmp_path)["inputs/x"].tolist() == items.tolist()


def test_string_that_samples_cannot_keep_is_refused(tmp_path):
    with pytest.raises(StageError, match=r"inputs/x: a string ends in a NUL byte"):
        save(tmp_path, {"inputs/x": np.array([b"a\0"], object)})
