"""Outputs of classifications and regressions as the messages of their gRPC answers."""

from __future__ import annotations

from typing import Any

from serving.hosting.batcher import Outputs
from serving.servers.tfserving.api import examples


def fill_classes(result: Any, outputs: Outputs, count: int) -> None:
    """Fill a ClassificationResult."""
    classes, scores = examples.check_classes(outputs, count)
    columns = next(array.shape[1] for array in (classes, scores) if array is not None)
    for row in range(count):
        classifications = result.classifications.add()
        for column in range(columns):
            entry = classifications.classes.add()
            if classes is not None:
                entry.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                entry.score = scores[row, column]


def fill_values(result: Any, outputs: Outputs, count: int) -> None:
    """Fill a RegressionResult."""
    for value in examples.check_values(outputs, count).tolist():
        result.regressions.add(value=value)
