"""Measure a twin in a process of its own; prints JSON objects, a line each. `training.compare` calls it.

`count` trains one mode from the seed on and counts the steps until the test accuracy is reached, looking every 375
steps. `steps` times one mode's steps: it starts from the same seed, does its first step, which holds tracing and
compilation, warms up, and then does a stretch for each number of a round that it reads from stdin. `inference` times
one mode's answers per batch size.

    python -m training.measure count tensorflow --mode xla [--target-accuracy 0.98]
    echo 1 | python -m training.measure steps pytorch --mode eager [--steps 30]
    python -m training.measure inference pytorch --mode export [--rounds 5]
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from contract import FRAMEWORKS, StageError
from training.hyperparameters import Hyperparameters
from training.mnist import read_split, scale
from training.trained import Workers, accuracy, epoch_order

REFERENCE = "reference"
"""The mode that is the tutorial's loop."""
TRY_EVERY = 375
"""Steps between two looks at the test accuracy: five an epoch."""
WARM_STEPS = 20
BATCH_SIZES = (1, 8, 32, 128)
REPETITIONS = 30

RunEpoch = Callable[..., tuple[float, float, float]]


def main() -> int:
    """Run the command line; return the exit code."""
    measures = {"count": count_steps, "steps": time_steps, "inference": measure_inference}
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__, formatter_class=raw)
    parser.add_argument("kind", choices=measures)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--mode", default=REFERENCE)
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        result = measures[options.kind](options)
    except StageError as error:
        result = {"missing": str(error)}
    print(json.dumps({"framework": options.framework, "mode": options.mode, "seed": options.seed} | result))
    return 0


def count_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Train until the target is reached and count the steps."""
    twin = importlib.import_module(f"training.train_{options.framework}")
    hyper = Hyperparameters(epochs=options.max_epochs, seed=options.seed)
    network, run, batches = prepare(twin, options, hyper)
    test = read_split("t10k")
    piece, tried = hyper.batch_size * TRY_EVERY, []
    for epoch in range(1, hyper.epochs + 1):
        order = epoch_order(hyper, epoch)
        for start in range(0, len(order), piece):
            loss, _, _ = run(batches, order[start : start + piece], f"{options.framework} {options.mode} epoch {epoch}")
            reached = accuracy(twin.predict(network, test.images), test.labels)
            images = (epoch - 1) * hyper.images + min(start + piece, len(order))
            tried.append({"steps": images // hyper.batch_size, "loss": loss, "test_accuracy": reached})
            if reached >= options.target_accuracy:
                return counted(tried, images // hyper.batch_size)
    return counted(tried, None)


def counted(tried: list[dict[str, Any]], steps: int | None) -> dict[str, Any]:
    """Sum up a count; the steps are None where the target was not reached."""
    return {"steps_to_target": steps, "test_accuracy": tried[-1]["test_accuracy"], "tried": tried}


def time_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Time a stretch of steps for each round that stdin names; every mode gets the same images in the same order."""
    twin = importlib.import_module(f"training.train_{options.framework}")
    hyper = Hyperparameters(seed=options.seed)
    order, size = epoch_order(hyper, 1), hyper.batch_size
    _, run, batches = prepare(twin, options, hyper)
    first_step_s = run(batches, order[:size], "")[2]
    warm = size * (1 + WARM_STEPS)
    run(batches, order[size:warm], "")
    print(json.dumps({"first_step_s": first_step_s}), flush=True)
    for number in map(int, sys.stdin):
        start = warm + size * options.steps * (number - 1)
        loss, _, seconds = run(batches, order[start : start + size * options.steps], "")
        row = {"round": number, "loss": loss, "seconds_per_step": seconds / options.steps}
        row |= {"images_per_s": size * options.steps / seconds}
        print(json.dumps(row | {"seconds_per_epoch": seconds * hyper.images / size / options.steps}), flush=True)
    return {"peak_rss_bytes": peak_rss_bytes()}


def peak_rss_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepare(twin: Any, options: argparse.Namespace, hyper: Hyperparameters) -> tuple[Any, RunEpoch, Any]:
    """Build the network, what runs images in an order, and the batches: of a mode or of the reference."""
    twin.make_repeatable(hyper.seed)
    network, train = twin.build_network(), read_split("train")
    if options.mode == REFERENCE:
        reference = importlib.import_module(f"training.reference_{options.framework}")
        step, batches = reference.make_step(network, hyper), reference.make_batches(train, hyper)
    else:
        step = twin.make_step(network, twin.build_optimizer(network, hyper), options.mode)
        batches = twin.make_batches(train, hyper, Workers())
    run_epoch = getattr(twin, "run_epoch", twin.train_epoch)
    return network, lambda batches, order, title: run_epoch(step, batches, order, title), batches


def measure_inference(options: argparse.Namespace) -> dict[str, Any]:
    """Time the network's answers per batch size; the first call, which holds the compilation, apart."""
    twin = importlib.import_module(f"training.train_{options.framework}")
    images = scale(read_split("t10k").first(max(BATCH_SIZES)).images)
    answer = twin.make_inference(twin.build_network(), options.mode)
    rows = []
    firsts = {size: seconds_of(answer, images[:size]) for size in BATCH_SIZES}
    for _, size in itertools.product(range(options.rounds), BATCH_SIZES):
        latencies = [seconds_of(answer, images[:size]) for _ in range(REPETITIONS + 5)]
        p50 = float(np.median(latencies[5:]))
        row = {"batch_size": size, "first_s": firsts[size], "latency_p50_ms": 1e3 * p50, "samples_per_s": size / p50}
        rows.append(row)
    return {"inference": rows}


def seconds_of(answer: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """The time that one answer takes."""
    started = time.perf_counter()
    answer(images)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
