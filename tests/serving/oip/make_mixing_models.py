"""Writes TFLite models whose rows depend on each other; a program of its own, for TensorFlow is apart from the rest.

python tests/serving/oip/make_mixing_models.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

MODELS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: tf.transpose(tf.nn.softmax(tf.transpose(x))),
    "nonzero": lambda x: tf.where(x > 0),
    "cumsum": lambda x: tf.cumsum(x, axis=0),
    "centred": lambda x: x - tf.reduce_mean(x, axis=0, keepdims=True),
    "sorted": lambda x: tf.transpose(tf.math.top_k(tf.transpose(x), k=tf.shape(x)[0]).values),
    "top1": lambda x: tf.reduce_max(x, axis=0, keepdims=True),
    "reversed": lambda x: tf.reverse(x, axis=[0]),
    "scaled": lambda x: x / tf.reduce_max(tf.abs(x), axis=0, keepdims=True),
    "gram": lambda x: tf.matmul(x, tf.matmul(x, x, transpose_a=True)),
    "numbered": lambda x: x + tf.cast(tf.range(tf.shape(x)[0])[:, None], tf.float32),
    "filtered": lambda x: tf.gather(x, tf.where(x[:, 0] > 0)[:, 0]),
}


def main(folder: Path) -> None:
    for name, model in MODELS.items():
        module = tf.Module()
        module.call = tf.function(
            lambda x, model=model: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")]
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
        (folder / f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
