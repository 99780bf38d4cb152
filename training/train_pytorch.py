"""Train the network in PyTorch. Its twin is train_tensorflow.py: `diff` the two and only the framework is left.

Reads MNIST through training.mnist; writes `artifacts/models/pytorch/`: weights, answers on the test images,
manifest.

    python -m training.train_pytorch [--epochs 2 --batch-size 32 --learning-rate 0.001 --seed 1 --mode eager]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from contract import Manifest, StageError
from training.hyperparameters import ADAM, Hyperparameters, Run, parse_run
from training.mnist import Split, read_split, scale
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

FRAMEWORK = "pytorch"
PACKAGES = ("torch", "numpy")
WEIGHTS = "network.pt"
MODES = ("eager", "compile")

Step = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""One optimiser step on images `[b, 28, 28, 1]` and labels `[b]`: to the mean loss and the count of right answers."""


def make_repeatable(seed: int) -> None:
    """Seed every generator and allow only deterministic kernels."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)


class Network(nn.Module):
    """Conv2D(32, 3×3, relu) → Flatten → Dense(128, relu) → Dense(10): images `[b, 28, 28, 1]` to logits `[b, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 32, 3)
        self.hidden = nn.Linear(32 * 26 * 26, 128)
        self.logits = nn.Linear(128, 10)
        for layer in (self.convolution, self.hidden, self.logits):  # as Keras starts: Glorot uniform, biases zero
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits; PyTorch's layers want the channels first."""
        features = torch.relu(self.convolution(image.permute(0, 3, 1, 2)))
        logits: torch.Tensor = self.logits(torch.relu(self.hidden(features.flatten(1))))
        return logits


def build_network() -> Network:
    """Build the network with fresh weights."""
    return Network()


def build_optimizer(network: nn.Module, hyper: Hyperparameters) -> torch.optim.Optimizer:
    """Build Adam for the network's weights; `fused` is one pass over memory instead of a dozen."""
    betas = (ADAM["beta_1"], ADAM["beta_2"])
    return torch.optim.Adam(network.parameters(), hyper.learning_rate, betas, ADAM["epsilon"], fused=True)


class Served(nn.Module):
    """The network as it is exported: image to probabilities, the softmax inside the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Answer images `[b, 28, 28, 1]` with probabilities `[b, 10]`."""
        return torch.softmax(self.network(image), dim=1)


class Digits(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The images as a Dataset that hands out a batch per call, not an image per call."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = torch.tensor(split.images), torch.tensor(split.labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return FP32 images and int64 labels; DataLoader calls it with all indices of a batch."""
        picked = torch.tensor(indices)
        return self.images[picked].float() / 255.0, self.labels[picked]


def make_batches(split: Split, hyper: Hyperparameters) -> Callable[[int], Any]:
    """Return a function from an epoch's number to its batches of FP32 images and int64 labels."""
    digits = Digits(split)

    def batches(epoch: int) -> Any:
        order = epoch_order(len(digits), hyper.seed, epoch).tolist()
        return DataLoader(digits, hyper.batch_size, sampler=order, collate_fn=lambda batch: batch)

    return batches


def make_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """Return one step of training, as every mode runs it."""
    loss_of = nn.CrossEntropyLoss()

    def step(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = network(images)
        loss = loss_of(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = (logits.argmax(dim=1) == labels).sum()
        return loss.detach(), right

    return step


def capture(network: nn.Module, mode: str) -> nn.Module:
    """Wrap the network for a mode: as Python (`eager`) or compiled by TorchInductor."""
    if mode == "eager":
        return network
    captured: nn.Module = torch.compile(network)  # type: ignore[assignment]
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


def predict(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the probabilities FP32 `[n, 10]` for uint8 images `[n, 28, 28, 1]`."""
    served = Served(network).eval()
    with torch.inference_mode():
        parts = [served(torch.from_numpy(scale(part))).numpy() for part in np.array_split(images, 10)]
    return np.concatenate(parts)


def train(run: Run) -> Manifest:
    """Train from the seed on and write weights, answers and manifest to the run's folder."""
    make_repeatable(run.hyper.seed)
    started, test = time.perf_counter(), read_split("t10k")
    network = build_network()
    batches = make_batches(read_split("train"), run.hyper)
    step = make_step(capture(network, run.mode), build_optimizer(network, run.hyper))
    log: list[Epoch] = []
    while len(log) < run.hyper.epochs and (not log or log[-1].test_accuracy < run.hyper.stop_at_accuracy):
        number = len(log) + 1
        loss, train_accuracy, seconds = train_epoch(step, batches(number), f"{FRAMEWORK} epoch {number}")
        probabilities = predict(network, test.images)
        log.append(Epoch(number, loss, train_accuracy, accuracy(probabilities, test.labels), seconds))
        print(log[-1].line(), flush=True)
    with leaving_no_manifest(run.folder):
        torch.save(network.state_dict(), run.folder / WEIGHTS)
    manifest = write_trained(run, FRAMEWORK, PACKAGES, probabilities, sum(p.numel() for p in network.parameters()), log)
    say_done(manifest, run.folder, started)
    return manifest


def load(folder: Path) -> Served:
    """Load the trained network from a folder that `train` wrote."""
    network = build_network()
    network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return Served(network).eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        train(parse_run(FRAMEWORK, MODES, argv, __doc__))
    except StageError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
