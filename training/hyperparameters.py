"""The knobs of a training run: one frozen dataclass, the same for both twins, and the command line made from it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

from contract import TWINS, StageError, workspace_of

WORKSPACE = workspace_of(TWINS)
"""Of the twins, whichever model the command line is about."""
MODELS = WORKSPACE / "models"
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
"""Stated, because the frameworks' own defaults differ (epsilon: Keras 1e-7, PyTorch 1e-8)."""


@dataclass(frozen=True)
class Hyperparameters:
    """What decides the result of a run; every field is a flag: `--learning-rate 0.001`."""

    epochs: int = 2
    batch_size: int = 32
    """Images in one optimiser step, over all workers together."""
    learning_rate: float = 0.001
    seed: int = 1
    """Seeds the initial weights and the order of the images."""
    stop_at_accuracy: float = 1.0
    """Ends the run after the first epoch with at least this test accuracy; 1.0 runs all epochs."""
    images: int = 60_000
    """The first images of the training set; fewer for a quick try."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        for name in ("epochs", "batch_size", "learning_rate", "images"):
            if not getattr(self, name) > 0:
                raise StageError(f"--{name.replace('_', '-')} {getattr(self, name)}: it has to be above zero")
        if not 0 < self.stop_at_accuracy <= 1:
            raise StageError(f"--stop-at-accuracy {self.stop_at_accuracy}: it is a share, above 0 and at most 1")


@dataclass(frozen=True)
class Run:
    """One call of a twin: the hyperparameters, and what leaves the result alone."""

    hyper: Hyperparameters
    mode: str
    """How a step is executed."""
    folder: Path
    """Where weights and manifest go: `artifacts/mnist/models/<framework>`."""
    resume: bool = False
    """Go on from the checkpoint that an interrupted run left in the folder."""
    replicas: int = 1
    """Copies of the network on logical devices inside this process; TensorFlow only."""


def parse_run(framework: str, modes: Sequence[str], argv: Sequence[str] | None, usage: str | None) -> Run:
    """Read the command line of the twin of `framework`; the first of `modes` is the default."""
    raw, name = argparse.RawTextHelpFormatter, f"python -m training.train_{framework}"
    parser = argparse.ArgumentParser(prog=name, description=usage, formatter_class=raw)
    kinds = get_type_hints(Hyperparameters)
    for field in fields(Hyperparameters):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=kinds[field.name], default=field.default, help="default: %(default)s")
    parser.add_argument("--mode", choices=modes, default=modes[0], help="how a step is executed; default: %(default)s")
    parser.add_argument("--output", type=Path, default=MODELS / framework, help="folder; default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    if framework == "tensorflow":
        parser.add_argument("--replicas", type=int, default=1, help="logical devices to train on; default: %(default)s")
    options = vars(parser.parse_args(argv))
    mode, folder, resume = options.pop("mode"), options.pop("output"), options.pop("resume")
    replicas = options.pop("replicas", 1)
    return Run(Hyperparameters(**options), mode, folder, resume, replicas)
