"""A data set of a dozen images in real IDX files, and a way to run a twin in a process of its own."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        "t10k-images-idx3-ubyte": idx_bytes(rng.integers(0, 256, (12, 28, 28), np.uint8)),
        "t10k-labels-idx1-ubyte": idx_bytes(rng.integers(0, 10, 12, np.uint8)),
    }


@pytest.fixture
def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
