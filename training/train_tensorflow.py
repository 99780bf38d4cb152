"""Train the network in TensorFlow. Its twin is train_pytorch.py: `diff` the two and only the framework is left.

Reads MNIST through training.mnist; writes `artifacts/models/tensorflow/`: weights, answers on the test images,
manifest.

    python -m training.train_tensorflow [--epochs 2 --batch-size 32 --learning-rate 0.001 --seed 1 --mode graph]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract import Manifest, StageError
from training.hyperparameters import ADAM, Hyperparameters, Run, parse_run
from training.mnist import INPUT, OUTPUT, Split, read_split, scale
from training.quiet_tensorflow import keras, tf
from training.trained import (
    Epoch,
    accuracy,
    epoch_order,
    fail,
    leaving_no_manifest,
    say_done,
    with_bar,
    write_trained,
)

FRAMEWORK = "tensorflow"
PACKAGES = ("tensorflow", "keras", "numpy")
SIGNATURE = tf.TensorSpec([None, *INPUT.shape[1:]], tf.float32, name=INPUT.name)
WEIGHTS = "network.weights.h5"
MODES = ("graph", "eager", "xla")

Step = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""One optimiser step on images `[b, 28, 28, 1]` and labels `[b]`: to the mean loss and the count of right answers."""


def make_repeatable(seed: int) -> None:
    """Seed every generator and allow only deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def build_network() -> keras.Model:
    """Build the network with fresh weights: images `[b, 28, 28, 1]` to logits `[b, 10]`."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name=INPUT.name),
            keras.layers.Conv2D(32, 3, activation="relu", name="convolution"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(128, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


def build_optimizer(network: keras.Model, hyper: Hyperparameters) -> keras.optimizers.Optimizer:
    """Build Adam for the network's weights."""
    optimizer = keras.optimizers.Adam(hyper.learning_rate, **ADAM)
    optimizer.build(network.trainable_variables)
    return optimizer


class Served(tf.Module):  # type: ignore[misc]
    """The network as it is exported: image to probabilities, the softmax inside the graph."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    @tf.function(input_signature=[SIGNATURE])  # type: ignore[untyped-decorator]
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer images `[b, 28, 28, 1]` with probabilities `[b, 10]`."""
        return {OUTPUT.name: tf.nn.softmax(self.network(image, training=False))}


def make_batches(split: Split, hyper: Hyperparameters) -> Callable[[int], Any]:
    """Return a function from an epoch's number to its batches of FP32 images and int32 labels."""
    images, labels = tf.constant(split.images), tf.constant(split.labels.astype(np.int32))

    def pick(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(images, indices), tf.float32) / 255.0, tf.gather(labels, indices)

    def batches(epoch: int) -> Any:
        order = tf.data.Dataset.from_tensor_slices(epoch_order(len(split.labels), hyper.seed, epoch))
        return order.batch(hyper.batch_size).map(pick).prefetch(2)

    return batches


def make_step(network: keras.Model, optimizer: keras.optimizers.Optimizer) -> Step:
    """Return one step of training, as every mode runs it."""
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(labels, logits)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.int32))
        return loss, right

    return step


def capture(step: Step, mode: str) -> Step:
    """Wrap a step for a mode: as Python (`eager`), as a graph, or compiled by XLA."""
    if mode == "eager":
        return step
    captured: Step = tf.function(step, jit_compile=mode == "xla", reduce_retracing=True)
    return captured


def train_epoch(step: Step, batches: Any, title: str) -> tuple[float, float, float]:
    """Run all batches; return the mean loss, the accuracy 0…1 and the seconds."""
    started = time.perf_counter()
    losses, rights, sizes = [], [], []
    for images, labels in with_bar(batches, len(batches), title):
        loss, right = step(images, labels)
        losses.append(loss)
        rights.append(right)
        sizes.append(len(labels))
    count = sum(sizes)
    mean_loss = float(np.dot(np.array(losses), np.array(sizes))) / count
    return mean_loss, int(np.sum(rights)) / count, time.perf_counter() - started


def predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the probabilities FP32 `[n, 10]` for uint8 images `[n, 28, 28, 1]`."""
    served = Served(network)
    parts = [served(tf.constant(scale(part)))[OUTPUT.name].numpy() for part in np.array_split(images, 10)]
    return np.concatenate(parts)


def train(run: Run) -> Manifest:
    """Train from the seed on and write weights, answers and manifest to the run's folder."""
    make_repeatable(run.hyper.seed)
    started, test = time.perf_counter(), read_split("t10k")
    network = build_network()
    batches = make_batches(read_split("train"), run.hyper)
    step = capture(make_step(network, build_optimizer(network, run.hyper)), run.mode)
    log: list[Epoch] = []
    while len(log) < run.hyper.epochs and (not log or log[-1].test_accuracy < run.hyper.stop_at_accuracy):
        number = len(log) + 1
        loss, train_accuracy, seconds = train_epoch(step, batches(number), f"{FRAMEWORK} epoch {number}")
        probabilities = predict(network, test.images)
        log.append(Epoch(number, loss, train_accuracy, accuracy(probabilities, test.labels), seconds))
        print(log[-1].line(), flush=True)
    with leaving_no_manifest(run.folder):
        network.save_weights(run.folder / WEIGHTS)
    manifest = write_trained(run, FRAMEWORK, PACKAGES, probabilities, network.count_params(), log)
    say_done(manifest, run.folder, started)
    return manifest


def load(folder: Path) -> Served:
    """Load the trained network from a folder that `train` wrote."""
    network = build_network()
    network.load_weights(folder / WEIGHTS)
    return Served(network)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        train(parse_run(FRAMEWORK, MODES, argv, __doc__))
    except StageError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
