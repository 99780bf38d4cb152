"""The loop that tutorials show, in TensorFlow: what the modes of the twin are measured against.

The network is the twin's. A GradientTape step that runs eagerly, over tf.data batches of images that are scaled one
by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from training.hyperparameters import ADAM, Hyperparameters
from training.mnist import Split
from training.quiet_tensorflow import keras, tf
from training.train_tensorflow import Batches, Step


def make_batches(split: Split, hyper: Hyperparameters) -> Batches:
    """Return a function from an order of the images to the batches."""

    def batches(order: np.ndarray) -> Any:
        images, labels = split.images[order], split.labels[order].astype(np.int32)
        dataset = tf.data.Dataset.from_tensor_slices((images, labels))
        return dataset.map(lambda image, label: (tf.cast(image, tf.float32) / 255.0, label)).batch(hyper.batch_size)

    return batches


def make_step(network: keras.Model, hyper: Hyperparameters) -> Step:
    """Return the step of the tutorial: everything in Python, two metrics kept by hand."""
    optimizer = keras.optimizers.Adam(hyper.learning_rate, **ADAM)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(labels, logits)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.int32))
        return loss, right

    return step
