"""What a twin leaves behind, in whichever framework: the log of its epochs, its answers, its manifest.

Writes `artifacts/models/<framework>/test_probabilities.npy` and, last of all, `manifest.json`.
"""

from __future__ import annotations

import importlib.metadata
import io
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from contract import Manifest, StageError, files_below, shown, size_below, write_whole
from training.hyperparameters import Run
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


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the images in an epoch, as int64 indices: it depends on nothing but the arguments."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The share of images, 0…1, whose most probable label is the right one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def with_bar(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Pass `items` on and draw a progress bar on stderr."""
    return iter(tqdm(items, total=total, desc=title, unit="step", leave=False, mininterval=0.5))


@contextmanager
def leaving_no_manifest(folder: Path) -> Iterator[None]:
    """Take the old manifest away before `folder` is written, so that an interrupted run leaves none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    yield


def write_trained(
    run: Run, framework: str, packages: tuple[str, ...], probabilities: np.ndarray, parameters: int, log: list[Epoch]
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


def fail(error: StageError) -> int:
    """Print a mistake's message and return the exit code 2."""
    print(error, file=sys.stderr)
    return 2
