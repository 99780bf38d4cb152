"""Measure one mode of one twin in a process of its own; prints one JSON object. `training.compare` calls it.

Training: from the seed on until the test accuracy is reached, tried every 375 steps (the trying isn't counted). The
first step stands apart: it holds tracing and compilation. Inference: the network's answers per batch size.

    python -m training.measure tensorflow xla [--target-accuracy 0.98 --threads 2]
    python -m training.measure pytorch eager --inference
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from contract import FRAMEWORKS, StageError
from training.hyperparameters import Hyperparameters
from training.mnist import Split, read_split, scale
from training.trained import Workers, accuracy, epoch_order

REFERENCE = "reference"
"""The mode that is the article's own loop."""
TRY_EVERY = 375
"""Steps between two looks at the test accuracy: five an epoch."""
BATCH_SIZES = (1, 8, 32, 128)
REPETITIONS = 100


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("mode")
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        measure = measure_inference if given.inference else measure_training
        result = measure(given)
    except StageError as error:
        result = {"missing": str(error)}
    facts = {"framework": given.framework, "mode": given.mode, "seed": given.seed}
    print(json.dumps(facts | result))
    return 0


def measure_training(given: argparse.Namespace) -> dict[str, Any]:
    """Train to the target and time it."""
    twin = importlib.import_module(f"training.train_{given.framework}")
    hyper = Hyperparameters(epochs=given.max_epochs, seed=given.seed)
    twin.make_repeatable(hyper.seed, kernels=given.mode != REFERENCE)
    train, test = read_split("train"), read_split("t10k")
    network = twin.build_network()
    run, batches = prepare(twin, given, network, hyper, train)
    order = epoch_order(hyper, 1)
    piece = hyper.batch_size * TRY_EVERY
    first_s = run(batches, order[: hyper.batch_size], "")[2]
    order, seconds, tried = order[hyper.batch_size :], 0.0, []
    for epoch in range(1, hyper.epochs + 1):
        order = order if epoch == 1 else epoch_order(hyper, epoch)
        for start in range(0, len(order), piece):
            loss, _, took = run(batches, order[start : start + piece], f"{given.framework} {given.mode} {epoch}")
            seconds += took
            reached = accuracy(twin.predict(network, test.images), test.labels)
            images = (epoch - 1) * hyper.images + start + len(order[start : start + piece])
            tried.append({"seconds": seconds, "images": images, "loss": loss, "test_accuracy": reached})
            if reached >= given.target_accuracy:
                return figures(tried, first_s, hyper, reached)
    return figures(tried, first_s, hyper, None)


def prepare(
    twin: Any, given: argparse.Namespace, network: Any, hyper: Hyperparameters, train: Split
) -> tuple[Callable[..., tuple[float, float, float]], Any]:
    """Return what runs the images in an order, given the batches, and the batches: of a mode or of the reference."""
    run_epoch = getattr(twin, "run_epoch", twin.train_epoch)
    if given.mode == REFERENCE:
        reference = importlib.import_module(f"training.reference_{given.framework}")
        step, batches = reference.make_step(network, hyper), reference.make_batches(train, hyper)
    else:
        step = twin.make_step(network, twin.build_optimizer(network, hyper), given.mode)
        batches = twin.make_batches(train, hyper, Workers())
    return lambda batches, order, title: run_epoch(step, batches, order, title), batches


def figures(
    tried: list[dict[str, Any]], first_s: float, hyper: Hyperparameters, reached: float | None
) -> dict[str, Any]:
    """Sum up a training run."""
    seconds, images = tried[-1]["seconds"], tried[-1]["images"]
    per_image_s = seconds / images
    return {
        "first_step_s": first_s,
        "seconds_to_target": seconds if reached is not None else None,
        "seconds_to_target_with_first_step": seconds + first_s if reached is not None else None,
        "steps_to_target": images // hyper.batch_size if reached is not None else None,
        "seconds_per_epoch": per_image_s * hyper.images,
        "images_per_s": 1 / per_image_s,
        "test_accuracy": tried[-1]["test_accuracy"],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "tried": tried,
    }


def measure_inference(given: argparse.Namespace) -> dict[str, Any]:
    """Time the network's answers per batch size; the first call, which holds the compilation, apart."""
    twin = importlib.import_module(f"training.train_{given.framework}")
    images = scale(read_split("t10k").first(max(BATCH_SIZES)).images)
    answer = twin.make_inference(twin.build_network(), given.mode)
    rows = []
    for size in BATCH_SIZES:
        started = time.perf_counter()
        answer(images[:size])
        first_s, latencies = time.perf_counter() - started, []
        for repetition in range(REPETITIONS + 10):
            started = time.perf_counter()
            answer(images[:size])
            if repetition >= 10:
                latencies.append(time.perf_counter() - started)
        p50 = float(np.median(latencies))
        rows.append({"batch_size": size, "first_s": first_s, "latency_p50_ms": 1e3 * p50, "samples_per_s": size / p50})
    return {"inference": rows}


if __name__ == "__main__":
    sys.exit(main())
