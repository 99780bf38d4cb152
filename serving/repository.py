"""Reads the model repository: the artifacts that passed the parity gate, and the samples they are checked with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import MODEL_REPOSITORY, Manifest, StageError, Tensors, sha256_of, shown

TOLERANCE = 1e-4
"""Largest absolute difference of a right answer: ten times the parity gate, for a server's own order of summation."""


@dataclass(frozen=True)
class Samples:
    """Inputs and the answers expected for them; arrays have the samples in the first dimension."""

    inputs: dict[str, np.ndarray]
    expected: dict[str, dict[str, np.ndarray]]
    """Per artifact, then per output name; an artifact brought with labels alone has none."""
    labels: np.ndarray | None
    sha256: str

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: list[int] | slice) -> Tensors:
        """The inputs of some samples as one batch."""
        return {name: array[indices] for name, array in self.inputs.items()}


def read_artifacts(repository: Path = MODEL_REPOSITORY) -> dict[str, Manifest]:
    """Every complete artifact of the repository by name."""
    found = {p.parent.name: Manifest.read(p.parent, "make export") for p in sorted(repository.glob("*/manifest.json"))}
    if not found:
        raise StageError(f"no artifact with a manifest in {shown(repository)}: run `make export`")
    return found


def read_samples(repository: Path = MODEL_REPOSITORY) -> Samples:
    """The samples of the repository: `inputs/<tensor>`, `expected/<artifact>/<tensor>` and, where known, `labels`."""
    path = repository / "samples.npz"
    if not path.is_file():
        raise StageError(f"no {shown(path)}: run `make export`")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    expected: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if name.startswith("expected/"):
            _, artifact, output = name.split("/", 2)
            expected.setdefault(artifact, {})[output] = array
    inputs = {name.removeprefix("inputs/"): a for name, a in arrays.items() if name.startswith("inputs/")}
    if not inputs:
        raise StageError(f"{shown(path)} has no array `inputs/<tensor>`: run `make export`")
    return Samples(inputs, expected, arrays.get("labels"), sha256_of(path))
