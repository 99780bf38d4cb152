"""Writes the SavedModels of the tests, `models/{odd,tf2,online,share}/1`: `python make_models.py` (needs TensorFlow).

odd: `serving_default` is a convolution, `total` mixes the rows of a batch, `wait` runs until a file is there.
tf2: what TensorFlow 2 writes of small functions, with the shapes that it declares. online: `train` changes what
`serving_default` answers. share: rows of one batch depend on each other.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

MODELS = Path(__file__).parent / "models"


class Odd(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.reshape(tf.range(9.0), [3, 3, 1, 1]), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 5, 5, 1], tf.float32, name="image")])
    def convolve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))
        return {"y": tf.reduce_sum(features, axis=[1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def wait(self, path: tf.Tensor) -> dict[str, tf.Tensor]:
        """Write `<path>.began`, then wait until there is a file `<path>.end`."""
        tf.io.write_file(path[0] + ".began", "")

        def is_closed(tries: tf.Tensor) -> tf.Tensor:
            changing = tf.strings.substr(tf.strings.as_string(tries), 0, 0)  # the loop is not invariant
            return tf.equal(tf.size(tf.io.matching_files(path[0] + ".end" + changing)), 0)

        tries = tf.while_loop(is_closed, lambda tries: (tries + 1,), [tf.constant(0)])
        return {"y": tf.fill(tf.shape(path), tries[0] * 0)}


class Tf2(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def half_plus_two(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 0.5 + 2}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="x")])
    def upper(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.upper(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def product(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ tf.constant([[1.0], [2.0]])}

    @tf.function(input_signature=[tf.TensorSpec([None, 5, 5, 1], tf.float32, name="x")])
    def depthwise(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.depthwise_conv2d(x, tf.ones([3, 3, 1, 1]), [1, 1, 1, 1], "VALID")}

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 3, 3, 1], tf.float32, name="x")])
    def conv3d(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.conv3d(x, tf.ones([3, 3, 3, 1, 1]), [1, 1, 1, 1, 1], "VALID")}


class Online(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable([[1.0], [2.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ self.w}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="x"),
            tf.TensorSpec([None, 1], tf.float32, name="target"),
        ]
    )
    def train(self, x: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ self.w - target) ** 2)
        self.w.assign_sub(0.1 * tape.gradient(loss, self.w))
        return {"loss": loss}


class Share(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def share(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / tf.reduce_sum(x)}


def save(model: tf.Module, name: str, **signatures: tf.types.experimental.PolymorphicFunction) -> None:
    tf.saved_model.save(model, str(MODELS / name / "1"), signatures=signatures)


if __name__ == "__main__":
    odd, tf2, online, share = Odd(), Tf2(), Online(), Share()
    save(odd, "odd", serving_default=odd.convolve, total=odd.total, wait=odd.wait)
    others = {"upper": tf2.upper, "product": tf2.product, "depthwise": tf2.depthwise, "conv3d": tf2.conv3d}
    save(tf2, "tf2", serving_default=tf2.half_plus_two, **others)
    save(online, "online", serving_default=online.predict, train=online.train)
    save(share, "share", serving_default=share.share)
