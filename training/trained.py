"""What both twins share around their training loop: the order of the images, the log, the files they leave behind.

Writes `artifacts/mnist/models/<framework>/test_probabilities.npy` and, last of all, `manifest.json`.
"""

from __future__ import annotations

import importlib.metadata
import io
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from contract import Manifest, StageError, files_below, shown, size_below, write_whole
from training.hyperparameters import Hyperparameters, Run
from training.mnist import INPUT, OUTPUT

Item = TypeVar("Item")


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch; `seconds` counts the training steps alone, not the evaluation."""

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float

    def line(self) -> str:
        """One line for a person."""
        return (
            f"epoch {self.epoch}  loss {self.loss:.4f}  train accuracy {self.train_accuracy:.2%}  "
            f"test accuracy {self.test_accuracy:.2%}  {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Workers:
    """The processes (or replicas) that share each batch, and which one this is."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one evaluates, prints and writes files."""
        return self.rank == 0


def epoch_order(hyper: Hyperparameters, epoch: int) -> np.ndarray:
    """The order of the images in an epoch, as int64 indices: it depends on nothing but the arguments."""
    return np.random.default_rng((hyper.seed, epoch)).permutation(hyper.images)


def share_of(order: np.ndarray, batch_size: int, workers: Workers) -> np.ndarray:
    """The part of the order that one worker takes, so that together they see the batches that one process would.

    Raises StageError where a batch can't be split evenly: the mean gradient would no longer be the same.
    """
    if batch_size % workers.count or len(order) % batch_size % workers.count:
        raise StageError(
            f"batches of {batch_size} of {len(order):,} images can't be split over {workers.count} workers evenly: "
            "choose --batch-size and --images so that they can"
        )
    starts = range(0, len(order), batch_size)
    return np.concatenate([np.split(order[s : s + batch_size], workers.count)[workers.rank] for s in starts])


def should_continue(log: list[Epoch], hyper: Hyperparameters) -> bool:
    """Whether another epoch is due."""
    return len(log) < hyper.epochs and (not log or log[-1].test_accuracy < hyper.stop_at_accuracy)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The share of images, 0…1, whose most probable label is the right one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def with_bar(items: Iterable[Item], title: str) -> Iterator[Item]:
    """Pass `items` on and draw a progress bar on stderr; without a title there is none."""
    return iter(tqdm(items, desc=title, unit="step", leave=False, mininterval=0.5, disable=not title))


def check_resumable(saved: dict[str, Any], run: Run) -> list[Epoch]:
    """The log of a checkpoint; raises StageError where it is of other hyperparameters."""
    wanted = asdict(run.hyper)
    changed = sorted(k for k in wanted if k not in ("epochs", "stop_at_accuracy") and saved["hyper"][k] != wanted[k])
    if changed:
        was = ", ".join(f"--{name.replace('_', '-')} {saved['hyper'][name]}" for name in changed)
        raise StageError(f"the checkpoint in {shown(run.folder)} is of a run with {was}: give the same or don't resume")
    return [Epoch(**epoch) for epoch in saved["log"]]


def checkpoint_facts(run: Run, log: list[Epoch]) -> dict[str, Any]:
    """What a checkpoint keeps beside the weights."""
    return {"hyper": asdict(run.hyper), "log": [asdict(epoch) for epoch in log]}


def write_trained(
    run: Run,
    framework: str,
    packages: tuple[str, ...],
    probabilities: np.ndarray,
    parameters: int,
    log: list[Epoch],
    workers: Workers,
) -> Manifest:
    """Write the answers on the test images and the manifest beside the weights that the twin has saved."""
    buffer = io.BytesIO()
    np.save(buffer, probabilities)
    write_whole(run.folder / "test_probabilities.npy", buffer.getvalue())
    manifest = Manifest(
        name=framework,
        framework=framework,
        format="weights",
        version="1",
        inputs=(INPUT,),
        outputs=(OUTPUT,),
        sha256=files_below(run.folder),
        size_bytes=size_below(run.folder),
        test_accuracy=log[-1].test_accuracy,
        training={
            "epochs": len(log),
            "seconds": sum(epoch.seconds for epoch in log),
            "parameters": parameters,
            "mode": run.mode,
            "workers": workers.count * run.replicas,
            "hyperparameters": asdict(run.hyper),
            "epochs_log": [asdict(epoch) for epoch in log],
        },
        versions={name: importlib.metadata.version(name) for name in packages} | {"python": platform.python_version()},
    )
    manifest.write(run.folder)
    return manifest


def say_done(manifest: Manifest, folder: Path, started: float) -> None:
    """Print the result of a run."""
    reached, seconds = manifest.test_accuracy or 0.0, time.perf_counter() - started
    print(f"{manifest.name}: test accuracy {reached:.2%} after {seconds:.0f} s, in {shown(folder)}")


def lost_worker(error: Exception) -> StageError:
    """Say that another worker is gone, from what the exchange with it raised."""
    reason = str(error).strip().splitlines()[0][:200]
    return StageError(f"another worker is gone ({reason}): start all workers again with --resume")


def fail(error: StageError) -> int:
    """Print a mistake's message and return the exit code 2."""
    print(error, file=sys.stderr)
    return 2
