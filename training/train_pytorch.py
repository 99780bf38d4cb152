"""Train the network in PyTorch. Its twin is train_tensorflow.py: `diff` the two and only the framework is left.

Reads MNIST through training.mnist; writes `artifacts/mnist/models/pytorch/`: weights, answers on the test images,
manifest. Under `torchrun` (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) the workers share each batch.

    python -m training.train_pytorch [--epochs 2 --batch-size 32 --learning-rate 0.001 --seed 1 --mode eager]
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # idle threads sleep; read when torch loads its OpenMP

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from contract import Manifest, StageError, shown, write_whole
from training.hyperparameters import ADAM, Hyperparameters, Run, parse_run
from training.mnist import Split, read_split, scale
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

FRAMEWORK = "pytorch"
PACKAGES = ("torch", "numpy")
WEIGHTS = "network.pt"
CHECKPOINT = "checkpoint.pt"
MODES = ("eager", "compile")
INFERENCE_MODES = ("eager", "export", "compile")
LOST_AFTER_S = 60
"""How long a worker waits for another in one exchange."""

Step = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""One optimiser step on images `[b, 28, 28, 1]` and labels `[b]`: to the mean loss and the count of right answers."""

Batches = Callable[[np.ndarray], Any]
"""From an order of the images to an iterable of a worker's batches."""


def join_workers() -> Workers:
    """Meet the other processes that torchrun's variables tell of, if any."""
    workers = Workers(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if workers.count > 1:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=LOST_AFTER_S))
    return workers


def make_repeatable(seed: int) -> None:
    """Seed every generator and allow only deterministic kernels."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


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

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return FP32 images and int64 labels; DataLoader calls it with all indices of a batch."""
        picked = torch.tensor(indices)
        return self.images[picked].float() / 255.0, self.labels[picked]


def make_batches(split: Split, hyper: Hyperparameters, workers: Workers) -> Batches:
    """Return a function from an order of the images to this worker's batches of FP32 images and int64 labels."""
    digits, size = Digits(split), hyper.batch_size // workers.count

    def batches(order: np.ndarray) -> Any:
        mine = share_of(order, hyper.batch_size, workers).tolist()
        return DataLoader(digits, size, sampler=mine, collate_fn=lambda batch: batch)

    return batches


def missing(mode: str) -> str | None:
    """Why this machine can't run a mode, or None where it can."""
    if mode == "compile" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return "torch.compile needs a C++ compiler: install g++"
    return None


def capture(network: nn.Module, mode: str) -> nn.Module:
    """Wrap the network for a mode: as Python (`eager`) or compiled by TorchInductor (`compile`)."""
    if mode == "eager":
        return network
    if reason := missing(mode):
        raise StageError(f"--mode {mode}: {reason}")
    captured: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return captured


def make_step(network: nn.Module, optimizer: torch.optim.Optimizer, mode: str) -> Step:
    """Return one step of training, the same in every mode and for any number of workers."""
    loss_of = nn.CrossEntropyLoss()
    captured = capture(network, mode)
    if distributed.is_initialized():
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view", UserWarning)  # slower, not wrong
        captured = DistributedDataParallel(captured)  # averages the gradients

    def step(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = captured(images)
        loss = loss_of(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = (logits.argmax(dim=1) == labels).sum()
        return loss.detach(), right

    return step


def train_epoch(step: Step, batches: Batches, order: np.ndarray, title: str) -> tuple[float, float, float]:
    """Run the images in this order; return the mean loss over the steps, the accuracy 0…1 and the seconds."""
    started = time.perf_counter()
    losses, rights = [], []
    for images, labels in with_bar(batches(order), title):
        loss, right = step(images, labels)
        losses.append(loss)
        rights.append(right)
    sums = torch.stack([torch.stack(losses).mean(), torch.stack(rights).sum()])
    if distributed.is_initialized():
        distributed.all_reduce(sums)
        sums[0] /= distributed.get_world_size()
    return float(sums[0]), float(sums[1]) / len(order), time.perf_counter() - started


def predict(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the probabilities FP32 `[n, 10]` for uint8 images `[n, 28, 28, 1]`."""
    served = Served(network).eval()
    with torch.inference_mode():
        parts = [served(torch.from_numpy(scale(part))).numpy() for part in np.array_split(images, 10)]
    return np.concatenate(parts)


def make_inference(network: nn.Module, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from FP32 images `[b, 28, 28, 1]` to probabilities `[b, 10]`, executed as the mode says."""
    served: nn.Module = Served(network).eval()
    if mode == "export":
        batch = {"image": {0: torch.export.Dim("batch", min=1)}}
        served = torch.export.export(served, (torch.zeros(2, 28, 28, 1),), dynamic_shapes=batch).module()
    captured = capture(served, "compile" if mode == "compile" else "eager")

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(captured(torch.from_numpy(images)))

    return answer


def save_checkpoint(run: Run, network: nn.Module, optimizer: torch.optim.Optimizer, log: list[Epoch]) -> None:
    """Keep what the next epoch needs, so that a killed run can go on."""
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "facts": checkpoint_facts(run, log)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(run.folder / CHECKPOINT, buffer.getvalue())


def load_checkpoint(run: Run, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    """Go back to where the checkpoint was made; return the log up to there."""
    if not (run.folder / CHECKPOINT).is_file():
        raise StageError(f"no {shown(run.folder / CHECKPOINT)} to resume from: run without --resume")
    state = torch.load(run.folder / CHECKPOINT, weights_only=True)
    log = check_resumable(state["facts"], run)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return log


def train(run: Run) -> Manifest | None:
    """Train from the seed on; the first worker writes weights, answers and manifest to the run's folder."""
    started, workers = time.perf_counter(), join_workers()
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
        loss, train_accuracy, seconds = train_epoch(step, batches, epoch_order(run.hyper, number), title)
        probabilities = predict(network, test.images)
        log.append(Epoch(number, loss, train_accuracy, accuracy(probabilities, test.labels), seconds))
        if workers.is_first:
            save_checkpoint(run, network, optimizer, log)
            print(log[-1].line(), flush=True)
    if not workers.is_first:
        return None
    return finish(run, network, log, workers, started)


def finish(run: Run, network: nn.Module, log: list[Epoch], workers: Workers, started: float) -> Manifest:
    """Write weights, answers and manifest; the checkpoint has done its work."""
    (run.folder / "manifest.json").unlink(missing_ok=True)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    torch.save(network.state_dict(), run.folder / WEIGHTS)
    probabilities = predict(network, read_split("t10k").images)
    parameters = sum(weight.numel() for weight in network.parameters())
    manifest = write_trained(run, FRAMEWORK, PACKAGES, probabilities, parameters, log, workers)
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
    except RuntimeError as error:
        if "gloo" not in str(error):  # gloo's errors have no type of their own
            raise
        return fail(lost_worker(error))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
