"""The loop that tutorials show, in PyTorch: what the modes of the twin are measured against.

The network is the twin's. An image becomes a tensor when it is asked for, a batch is collated from 32 of them, Adam
has its default implementation, and each step reads the loss and the count of right answers back with `.item()`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training.hyperparameters import ADAM, Hyperparameters
from training.mnist import Split
from training.train_pytorch import Batches, Step


class ImagesOneByOne(Dataset[tuple[torch.Tensor, int]]):
    """A Dataset with an image per call, as `ToTensor` makes it."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image as FP32 `[28, 28, 1]`, 0…1, and its label."""
        return to_tensor(self.split.images[index]), int(self.split.labels[index])


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Do what torchvision's `ToTensor` does to an array: channels first, contiguous, scaled to 0…1."""
    scaled = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(torch.get_default_dtype()).div(255)
    return scaled.permute(1, 2, 0)  # the twin's network takes the channels last


def make_batches(split: Split, hyper: Hyperparameters) -> Batches:
    """Return a function from an order of the images to the batches."""
    images = ImagesOneByOne(split)

    def batches(order: np.ndarray) -> Any:
        return DataLoader(images, hyper.batch_size, sampler=order.tolist())

    return batches


def make_step(network: nn.Module, hyper: Hyperparameters) -> Step:
    """Return the step of the tutorial: everything in Python, two numbers read back each time."""
    optimizer = torch.optim.Adam(
        network.parameters(), hyper.learning_rate, (ADAM["beta_1"], ADAM["beta_2"]), ADAM["epsilon"]
    )
    loss_of = nn.CrossEntropyLoss()

    def step(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        optimizer.zero_grad()
        logits = network(images)
        loss = loss_of(logits, labels)
        loss.backward()
        optimizer.step()
        right = (logits.argmax(dim=1) == labels).sum().item()
        return torch.tensor(loss.item()), torch.tensor(right)

    return step
