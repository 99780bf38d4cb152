"""Two models for long requests, as ONNX, TFLite and SavedModel: one that takes megabytes, one that takes seconds.

Each takes `x`, FP32 [-1, 4], and gives one number `y`. Writes a model repository; it imports TensorFlow, so it runs in
a process of its own.

    python -m loadtest.bench.long_models FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.bench.dependent_models import DependentModel, build

PRODUCTS = 12
"""Of square matrices with as many rows as the request."""


def _slow(x: np.ndarray) -> np.ndarray:
    product = start = np.tanh(x @ x.T)
    for _ in range(PRODUCTS):
        product = np.tanh(product @ start)
    result: np.ndarray = product[:1, :1]
    return result


def _slow_graph(tf: Any, x: Any) -> Any:
    product = start = tf.tanh(tf.matmul(x, tf.transpose(x)))
    for _ in range(PRODUCTS):
        product = tf.tanh(tf.matmul(product, start))
    return product[:1, :1]


MODELS = (
    DependentModel("first", lambda x: x[:1, :1], lambda _, x: x[:1, :1], keeps_rows=False),
    DependentModel("slow", _slow, _slow_graph, keeps_rows=False),
)

if __name__ == "__main__":
    build(Path(sys.argv[1]), MODELS)
