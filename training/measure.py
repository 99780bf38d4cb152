"""Measure a twin in a process of its own; prints one JSON object. `training.compare` calls it.

`count` trains one mode from the seed on and counts the steps until the test accuracy is reached, looking every 375
steps. `turns` times all modes side by side: each does a stretch of steps in turn, in random order, round after round,
so that whatever else the machine does falls on all of them; the first step, which holds tracing and compilation,
stands apart. `inference` times one mode's answers per batch size.

    python -m training.measure count tensorflow --mode xla [--target-accuracy 0.98]
    python -m training.measure turns pytorch [--rounds 5 --steps 50]
    python -m training.measure inference pytorch --mode export
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
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
"""The mode that is the article's own loop."""
TRY_EVERY = 375
"""Steps between two looks at the test accuracy: five an epoch."""
WARM_STEPS = 20
BATCH_SIZES = (1, 8, 32, 128)
REPETITIONS = 100

RunEpoch = Callable[..., tuple[float, float, float]]


def main() -> int:
    """Run the command line; return the exit code."""
    measures = {"count": count_steps, "turns": take_turns, "inference": measure_inference}
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__, formatter_class=raw)
    parser.add_argument("kind", choices=measures)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--mode", default=REFERENCE)
    parser.add_argument("--target-accuracy", type=float, default=0.98)
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        result = measures[given.kind](given)
    except StageError as error:
        result = {"missing": str(error)}
    print(json.dumps({"framework": given.framework, "mode": given.mode, "seed": given.seed} | result))
    return 0


def count_steps(given: argparse.Namespace) -> dict[str, Any]:
    """Train until the target is reached and count the steps."""
    twin = importlib.import_module(f"training.train_{given.framework}")
    hyper = Hyperparameters(epochs=given.max_epochs, seed=given.seed)
    network, run, batches = prepare(twin, given, hyper)
    test = read_split("t10k")
    piece, tried = hyper.batch_size * TRY_EVERY, []
    for epoch in range(1, hyper.epochs + 1):
        order = epoch_order(hyper, epoch)
        for start in range(0, len(order), piece):
            loss, _, _ = run(batches, order[start : start + piece], f"{given.framework} {given.mode} epoch {epoch}")
            reached = accuracy(twin.predict(network, test.images), test.labels)
            images = (epoch - 1) * hyper.images + min(start + piece, len(order))
            tried.append({"steps": images // hyper.batch_size, "loss": loss, "test_accuracy": reached})
            if reached >= given.target_accuracy:
                return counted(tried, images // hyper.batch_size)
    return counted(tried, None)


def counted(tried: list[dict[str, Any]], steps: int | None) -> dict[str, Any]:
    """Sum up a count; the steps are None where the target was not reached."""
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "steps_to_target": steps,
        "test_accuracy": tried[-1]["test_accuracy"],
        "peak_rss_bytes": peak_bytes,
        "tried": tried,
    }


def take_turns(given: argparse.Namespace) -> dict[str, Any]:
    """Time every mode's steps, a stretch each in turn."""
    twin = importlib.import_module(f"training.train_{given.framework}")
    hyper = Hyperparameters(seed=given.seed)
    order, size = epoch_order(hyper, 1), hyper.batch_size
    modes = [mode for mode in (REFERENCE, *twin.MODES) if mode == REFERENCE or not twin.missing(mode)]
    firsts, runs = {}, {}
    for mode in modes:
        _, run, batches = prepare(twin, argparse.Namespace(**vars(given) | {"mode": mode}), hyper)
        firsts[mode] = run(batches, order[:size], "")[2]
        run(batches, order[size : size * (1 + WARM_STEPS)], "")
        runs[mode] = (run, batches)
    shuffle, turns = random.Random(given.seed), []  # noqa: S311
    for number in range(1, given.rounds + 1):
        stretch = order[size * given.steps * (number - 1) : size * given.steps * number]
        for mode in shuffle.sample(modes, len(modes)):
            run, batches = runs[mode]
            per_step_s = run(batches, stretch, f"round {number} {given.framework} {mode}")[2] / given.steps
            turn = {"framework": given.framework, "mode": mode, "round": number, "first_step_s": firsts[mode]}
            turn |= {"seconds_per_step": per_step_s, "images_per_s": size / per_step_s}
            turns.append(turn | {"seconds_per_epoch": per_step_s * hyper.images / size})
    return {"turns": turns}


def prepare(twin: Any, given: argparse.Namespace, hyper: Hyperparameters) -> tuple[Any, RunEpoch, Any]:
    """Build the network, what runs images in an order, and the batches: of a mode or of the reference."""
    twin.make_repeatable(hyper.seed)
    network, train = twin.build_network(), read_split("train")
    if given.mode == REFERENCE:
        reference = importlib.import_module(f"training.reference_{given.framework}")
        step, batches = reference.make_step(network, hyper), reference.make_batches(train, hyper)
    else:
        step = twin.make_step(network, twin.build_optimizer(network, hyper), given.mode)
        batches = twin.make_batches(train, hyper, Workers())
    run_epoch = getattr(twin, "run_epoch", twin.train_epoch)
    return network, lambda batches, order, title: run_epoch(step, batches, order, title), batches


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
