"""Writes `models/odd/1`, a SavedModel for the tests: `python make_odd_model.py` (needs TensorFlow).

`serving_default` is a convolution, which oneDNN can't run on a wrong rank; `total` mixes the rows of a batch; `spin`
takes as long as its input says.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


class Odd(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.reshape(tf.range(9.0), [3, 3, 1, 1]), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 5, 5, 1], tf.float32, name="image")])
    def convolve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))
        return {"y": tf.reduce_sum(found, axis=[1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="turns")])
    def spin(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.while_loop(lambda i: i < tf.reduce_max(turns), lambda i: i + 1, [tf.constant(0)])
        return {"y": turns * 0 + count[0]}


if __name__ == "__main__":
    model = Odd()
    signatures = {"serving_default": model.convolve, "total": model.total, "spin": model.spin}
    tf.saved_model.save(model, str(Path(__file__).parent / "models/odd/1"), signatures=signatures)
