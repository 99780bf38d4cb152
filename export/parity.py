"""The gate: an artifact has to answer as the trained model does before it gets a manifest.

Reads the trained model's answers on the test images, `artifacts/models/<framework>/test_probabilities.npy`, so that
the framework that trained it need not be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import StageError, Tensors
from export.format import LoadedModel

TOLERANCE = 1e-5
"""Largest absolute difference of a probability."""
BATCH_SIZES = (64, 1, 2, 7)
"""The first runs all images, the others the first `TRIED`."""
TRIED = 1000


@dataclass(frozen=True)
class Parity:
    """How an artifact's answers differ from the trained model's."""

    max_abs_diff: float
    label_agreement: float
    """Share of images, 0…1, on which both give the same label, over all batch sizes."""
    images: int
    batch_sizes: tuple[int, ...]
    tolerance: float = TOLERANCE

    @property
    def failures(self) -> list[str]:
        """What the gate refuses, with figures."""
        found = []
        if not self.max_abs_diff <= self.tolerance:  # NaN is refused too
            found.append(f"largest difference {self.max_abs_diff:.2e}, allowed {self.tolerance:.0e}")
        if self.label_agreement < 1:
            found.append(f"same label on {self.label_agreement:.3%} of {self.images:,} images, wanted on all")
        return found

    def as_dict(self) -> dict[str, Any]:
        """The form in which a manifest keeps it."""
        return asdict(self) | {"batch_sizes": sorted(self.batch_sizes)}


def compare(
    model: LoadedModel, inputs: Tensors, expected: Tensors, title: str, tolerance: float = TOLERANCE
) -> tuple[Parity, dict[str, np.ndarray]]:
    """Run all inputs in batches of every size; return the differences, and the answers of the first batch size.

    Labels are compared where an output has two dimensions: the index of its largest element.
    """
    check_names(model, inputs, expected)
    count = len(next(iter(inputs.values())))
    spans = list(batches(count))
    worst, same, seen = 0.0, 0, 0
    answers: dict[str, list[np.ndarray]] = {name: [] for name in expected}
    for size, span in tqdm(spans, desc=title, unit="batch", leave=False):
        given = model.run({name: array[span] for name, array in inputs.items()})
        for name, array in expected.items():
            if given[name].shape != array[span].shape:
                raise StageError(
                    f"{title}: a batch of {size} is answered with {name!r} of shape {given[name].shape}, "
                    f"expected {array[span].shape}"
                )
            if size == BATCH_SIZES[0]:
                answers[name].append(given[name])
            worst = max_nan(worst, difference(given[name], array[span]))
            same += agreeing(given[name], array[span])
            seen += len(array[span])
    parity = Parity(worst, same / seen, count, BATCH_SIZES, tolerance)
    return parity, {name: np.concatenate(parts) for name, parts in answers.items()}


def check_names(model: LoadedModel, inputs: Tensors, expected: Tensors) -> None:
    """Raise StageError unless the tensors are called as the model calls them."""
    for side, specs, given in (("inputs", model.inputs, inputs), ("outputs", model.outputs, expected)):
        names, wanted = {spec.name for spec in specs}, set(given)
        if (wanted != names) if side == "inputs" else not (wanted and wanted <= names):
            raise StageError(f"the model's {side} are {sorted(names)}, the samples have {sorted(wanted)}")


def batches(count: int) -> Iterator[tuple[int, slice]]:
    """Every batch as its size and the images it takes; the last of each size may be shorter."""
    for size in BATCH_SIZES:
        end = count if size == BATCH_SIZES[0] else min(count, TRIED)
        for start in range(0, end, size):
            yield size, slice(start, min(start + size, end))


def difference(given: np.ndarray, wanted: np.ndarray) -> float:
    """The largest absolute difference; 0 or infinity for elements that aren't numbers."""
    if np.object_ in (given.dtype, wanted.dtype):
        return 0.0 if (given == wanted).all() else float("inf")
    return float(np.abs(given.astype(np.float64) - wanted.astype(np.float64)).max(initial=0.0))


def max_nan(a: float, b: float) -> float:
    """The larger of two; NaN if one is."""
    return float(np.maximum(a, b))


def agreeing(given: np.ndarray, wanted: np.ndarray) -> int:
    """How many samples have the same label; all where the output is no table of scores."""
    if given.ndim != 2 or given.dtype == np.object_:
        return len(wanted)
    return int((given.argmax(axis=1) == wanted.argmax(axis=1)).sum())
