"""The command line: what `predict` prints of each datatype."""

from __future__ import annotations

import numpy as np
import pytest

from serving.__main__ import are_probabilities, describe_output


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.array([[0.25, 0.75]], np.float32), "y [1, 2] 0.25 0.75"),
        (np.array([2**53 + 1]), "y [1] 9007199254740993"),
        (np.array([True, False]), "y [2] True False"),
        (np.array([["zürich".encode()]], object), "y [1, 1] 'zürich'"),
        (np.float32(3.5).reshape(()), "y [] 3.5"),
        (np.array([-np.inf, np.nan]), "y [2] -inf nan"),
        (np.zeros(102, np.uint8), f"y [102] {'0 ' * 100}… 2 more"),
    ],
)
def test_predict_prints_every_datatype_as_it_is(array, line):
    assert describe_output("y", array) == line


@pytest.mark.parametrize(
    ("array", "scores"),
    [
        (np.array([[0.25, 0.75]]), True),
        (np.array([[3.0, -2.0]]), False),
        (np.array([1, 0]), False),
        (np.array([[1.0]]), False),
        (np.array([["a"]], object), False),
    ],
)
def test_predict_names_a_label_for_class_probabilities_alone(array, scores):
    assert are_probabilities(array) is scores
