"""Reads the model repository: the artifacts that passed the parity gate, and the samples they are checked with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contract import EXPORT_FIRST, MODEL_REPOSITORY, Manifest, StageError, Tensors, Tolerance, sha256_of, shown
from export.parity import as_rows, row_differences
from export.samples import FILE, read_arrays, take

ENOUGH = 16
"""How many different answers are counted at most: two are enough to see a mix-up."""


@dataclass(frozen=True)
class Samples:
    """Inputs and the answers expected for them; arrays have the samples in the first dimension."""

    inputs: dict[str, np.ndarray]
    expected: dict[str, dict[str, np.ndarray]]
    """Per artifact, then per output name; an artifact brought with labels alone has none."""
    labels: np.ndarray | None
    sha256: str
    ranks: dict[str, int] = field(default_factory=dict)
    """Of the model's inputs. An array of a higher rank has a whole tensor for each sample."""
    tolerances: dict[str, dict[str, Tolerance]] = field(default_factory=dict)
    """Per artifact, then per output name."""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, rows: list[int] | slice) -> Tensors:
        """The inputs of some samples as one request; raises StageError where these samples make no batch."""
        return take(self.inputs, self.ranks, rows)

    def fault(self, answer: Tensors, artifact: str, rows: list[int] | slice) -> str:
        """Why `answer` is wrong for these samples, in words; "" where it is right."""
        expected = self.expected.get(artifact)
        if expected is None:
            return self._label_fault(answer, rows)
        for name, array in expected.items():
            if name not in answer:
                return f"there is no output {name!r}, only {', '.join(answer)}"
            wanted = array[rows]
            got = as_rows(answer[name], wanted)
            if got.shape != wanted.shape:
                return f"output {name!r} has shape {list(answer[name].shape)}, expected {list(wanted.shape)}"
            allowed = self.tolerances.get(artifact, {}).get(name, Tolerance()).allowed
            off = float(row_differences(got, wanted).max(initial=0.0))
            if not np.isfinite(off):
                return f"output {name!r} is not equal to the expected answer in its text, infinities or NaN"
            if off > allowed:
                return f"output {name!r} is off by {off:.3g} (at most {allowed:.3g} is right)"
        return ""

    def _label_fault(self, answer: Tensors, rows: list[int] | slice) -> str:
        if self.labels is None:
            return "samples.npz has neither expected answers nor labels for it"
        labels = np.argmax(next(iter(answer.values())), axis=-1)
        return "" if np.array_equal(labels, self.labels[rows]) else f"the labels are {labels.tolist()}"

    def distinct(self, artifact: str) -> int:
        """How many samples can be told apart by their expected answers, at most ENOUGH.

        With fewer than two, an answer meant for somebody else is no wrong answer, so mixing can't be seen.
        """
        expected = self.expected.get(artifact, {})
        told_apart: list[int] = []
        for row in range(len(self)):
            answer = {name: array[[row]] for name, array in expected.items()}
            if expected and all(self.fault(answer, artifact, [other]) for other in told_apart):
                told_apart.append(row)
            if len(told_apart) == ENOUGH:
                break
        return len(told_apart)


def read_artifacts(repository: Path = MODEL_REPOSITORY) -> dict[str, Manifest]:
    """Every complete artifact of the repository by name."""
    paths = sorted(repository.glob("*/manifest.json"))
    if not paths:
        raise StageError(f"no artifact with a manifest in {shown(repository)}: {EXPORT_FIRST}")
    return {path.parent.name: Manifest.read(path.parent, "make export") for path in paths}


def read_samples(repository: Path = MODEL_REPOSITORY) -> Samples:
    """The samples of the repository: `inputs/<tensor>`, `expected/<artifact>/<tensor>` and, where known, `labels`."""
    path = repository / FILE
    if not path.is_file():
        raise StageError(f"no {shown(path)}: {EXPORT_FIRST}")
    arrays = read_arrays(repository)
    expected: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if name.startswith("expected/"):
            _, artifact, output = name.split("/", 2)
            expected.setdefault(artifact, {})[output] = array
    inputs = {name.removeprefix("inputs/"): a for name, a in arrays.items() if name.startswith("inputs/")}
    if not inputs:
        raise StageError(f"{shown(path)} has no array `inputs/<tensor>`: {EXPORT_FIRST}")
    manifests = [Manifest.read(path.parent, "make export") for path in sorted(repository.glob("*/manifest.json"))]
    ranks = {spec.name: len(spec.shape) for manifest in manifests for spec in manifest.inputs}
    tolerances = {manifest.name: manifest.tolerances for manifest in manifests}
    return Samples(inputs, expected, arrays.get("labels"), sha256_of(path), ranks, tolerances)
