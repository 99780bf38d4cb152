"""Train the network in TensorFlow. Its twin is train_pytorch.py: `diff` the two and only the framework is left.

Reads MNIST through training.mnist; writes `artifacts/mnist/models/tensorflow/`: weights, answers on the test images,
manifest. Where TF_CONFIG names a cluster, its workers share each batch; `--replicas 2` does so inside one process.

    python -m training.train_tensorflow [--epochs 2 --batch-size 32 --learning-rate 0.001 --seed 1 --mode xla]
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract import Manifest, StageError, shown, write_whole
from training.hyperparameters import ADAM, Hyperparameters, Run, parse_run
from training.keras_fit import Fitted
from training.mnist import INPUT, OUTPUT, Split, read_split, scale
from training.quiet_tensorflow import keras, tf
from training.trained import (
    Epoch,
    Workers,
    accuracy,
    check_resumable,
    checkpoint_facts,
    epoch_order,
    fail,
    lost_worker,
    say_done,
    share_of,
    should_continue,
    with_bar,
    write_trained,
)

FRAMEWORK = "tensorflow"
PACKAGES = ("tensorflow", "keras", "numpy")
WEIGHTS = "network.weights.h5"
CHECKPOINT = "checkpoint.npz"
MODES = ("xla", "graph", "eager", "fit")
INFERENCE_MODES = ("eager", "graph", "xla")
SIGNATURE = tf.TensorSpec([None, *INPUT.shape[1:]], tf.float32, name=INPUT.name)

Step = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""One optimiser step on images `[b, 28, 28, 1]` and labels `[b]`: to the mean loss and the count of right answers."""

Batches = Callable[[np.ndarray], Any]
"""From an order of the images to an iterable of a worker's batches."""


def join_workers(replicas: int = 1) -> Workers:
    """Meet the other processes that TF_CONFIG tells of, if any, and make theirs the process's strategy."""
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        workers = Workers(strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync)
    elif replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
        strategy, workers = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)]), Workers()
    else:
        return Workers()
    tf.distribute.experimental_set_strategy(strategy)
    return workers


def make_repeatable(seed: int) -> None:
    """Seed every generator and allow only deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def build_network() -> keras.Model:
    """Build the network with fresh weights: images `[b, 28, 28, 1]` to logits `[b, 10]`."""
    return keras.Sequential(
        [
            keras.Input(INPUT.shape[1:], name=INPUT.name),
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


def make_batches(split: Split, hyper: Hyperparameters, workers: Workers) -> Batches:
    """Return a function from an order of the images to this worker's batches of FP32 images and int32 labels."""
    images, labels = tf.constant(split.images), tf.constant(split.labels.astype(np.int32))
    strategy = tf.distribute.get_strategy()
    size = hyper.batch_size // strategy.num_replicas_in_sync

    def pick(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(images, indices), tf.float32) / 255.0, tf.gather(labels, indices)

    def batches(order: np.ndarray) -> Any:
        mine = share_of(order, hyper.batch_size, workers)
        dataset = tf.data.Dataset.from_tensor_slices(mine).batch(size).map(pick).prefetch(2)
        return strategy.distribute_datasets_from_function(lambda _: dataset)

    return batches


def missing(mode: str) -> str | None:
    """Why this process can't run a mode, or None where it can."""
    if mode in ("xla", "fit") and tf.distribute.has_strategy():
        return "XLA on CPU can't exchange gradients between workers: use --mode graph"
    return None


def capture(step: Step, mode: str) -> Any:
    """Wrap a step for a mode: as Python (`eager`), as a graph (`graph`), compiled (`xla`); Keras wraps for `fit`."""
    if reason := missing(mode):
        raise StageError(f"--mode {mode}: {reason}")
    if mode == "eager":
        return step
    if mode == "fit":
        return Fitted(step)
    return tf.function(step, jit_compile=mode == "xla", reduce_retracing=True)


def make_step(network: keras.Model, optimizer: keras.optimizers.Optimizer, mode: str) -> Any:
    """Return one step of training, the same in every mode and for any number of workers."""
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    strategy = tf.distribute.get_strategy()

    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(labels, logits)  # Keras divides it by the replicas, and adds up their gradients
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.int32))
        return loss, right

    def step_of_all(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses, rights = strategy.run(step, args=(images, labels))
        return strategy.reduce("SUM", losses, axis=None), strategy.reduce("SUM", rights, axis=None)

    return capture(step if strategy.num_replicas_in_sync == 1 else step_of_all, mode)


def run_epoch(step: Step, batches: Batches, order: np.ndarray, title: str) -> tuple[float, float, float]:
    """Run the images in this order; return the mean loss over the steps, the accuracy 0…1 and the seconds."""
    if isinstance(step, Fitted):
        return step.train_epoch(batches, order, title)
    return train_epoch(step, batches, order, title)


def train_epoch(step: Step, batches: Batches, order: np.ndarray, title: str) -> tuple[float, float, float]:
    """Run the images in this order; return the mean loss over the steps, the accuracy 0…1 and the seconds."""
    started = time.perf_counter()
    losses, rights = [], []
    for images, labels in with_bar(batches(order), title):
        loss, right = step(images, labels)
        losses.append(loss)
        rights.append(right)
    loss, right = tf.reduce_mean(tf.stack(losses)), tf.reduce_sum(tf.stack(rights))
    return float(loss), float(right) / len(order), time.perf_counter() - started


def predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the probabilities FP32 `[n, 10]` for uint8 images `[n, 28, 28, 1]`."""
    served = Served(network)
    parts = [served(tf.constant(scale(part)))[OUTPUT.name].numpy() for part in np.array_split(images, 10)]
    return np.concatenate(parts)


def make_inference(network: keras.Model, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from FP32 images `[b, 28, 28, 1]` to probabilities `[b, 10]`, executed as the mode says."""

    def answer(image: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(network(image, training=False))

    captured = answer if mode == "eager" else tf.function(answer, jit_compile=mode == "xla")
    return lambda images: np.asarray(captured(tf.constant(images)))


def save_checkpoint(run: Run, network: keras.Model, optimizer: keras.optimizers.Optimizer, log: list[Epoch]) -> None:
    """Keep what the next epoch needs, so that a killed run can go on."""
    variables = [*network.variables, *optimizer.variables]
    state = {f"{i:03}": np.asarray(variable) for i, variable in enumerate(variables)}
    buffer = io.BytesIO()
    np.savez(buffer, facts=json.dumps(checkpoint_facts(run, log)), **state)  # type: ignore[arg-type]
    write_whole(run.folder / CHECKPOINT, buffer.getvalue())


def load_checkpoint(run: Run, network: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[Epoch]:
    """Go back to where the checkpoint was made; return the log up to there."""
    if not (run.folder / CHECKPOINT).is_file():
        raise StageError(f"no {shown(run.folder / CHECKPOINT)} to resume from: run without --resume")
    with np.load(run.folder / CHECKPOINT) as state:
        log = check_resumable(json.loads(str(state["facts"])), run)
        for i, variable in enumerate([*network.variables, *optimizer.variables]):
            variable.assign(state[f"{i:03}"])
    return log


def train(run: Run) -> Manifest | None:
    """Train from the seed on; the first worker writes weights, answers and manifest to the run's folder."""
    started, workers = time.perf_counter(), join_workers(run.replicas)
    make_repeatable(run.hyper.seed)
    test = read_split("t10k")
    network = build_network()
    optimizer = build_optimizer(network, run.hyper)
    log = load_checkpoint(run, network, optimizer) if run.resume else []
    batches = make_batches(read_split("train"), run.hyper, workers)
    step = make_step(network, optimizer, run.mode)
    while should_continue(log, run.hyper):
        number = len(log) + 1
        title = f"{FRAMEWORK} epoch {number}" if workers.is_first else ""
        loss, train_accuracy, seconds = run_epoch(step, batches, epoch_order(run.hyper, number), title)
        probabilities = predict(network, test.images)
        log.append(Epoch(number, loss, train_accuracy, accuracy(probabilities, test.labels), seconds))
        if workers.is_first:
            save_checkpoint(run, network, optimizer, log)
            print(log[-1].line(), flush=True)
    if not workers.is_first:
        return None
    return finish(run, network, log, workers, started)


def finish(run: Run, network: keras.Model, log: list[Epoch], workers: Workers, started: float) -> Manifest:
    """Write weights, answers and manifest; the checkpoint has done its work."""
    (run.folder / "manifest.json").unlink(missing_ok=True)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    network.save_weights(run.folder / WEIGHTS)
    probabilities = predict(network, read_split("t10k").images)
    parameters = int(network.count_params())
    manifest = write_trained(run, FRAMEWORK, PACKAGES, probabilities, parameters, log, workers)
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
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        return fail(lost_worker(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
