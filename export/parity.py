"""The gate: an artifact has to answer as the model does before it gets a manifest.

One rule for the gate, for servers and under load: numbers lie within a tolerance that an output's own scale takes part
in; strings, booleans and integers are equal; infinities and NaN stand in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import Batching, StageError, Tensors, Tolerance
from export.format import LoadedModel
from export.samples import take

BATCH_SIZES = (64, 1, 2, 7)
"""The first runs all samples, the others the first `TRIED`; a model that takes no batches runs sample by sample."""
TRIED = 1000
BAR_DELAY_S = 2.0
"""A bar is shown for what takes longer."""
ONE_BY_ONE = Batching("unknown", "not tried")


@dataclass(frozen=True)
class OutputParity:
    """How one output differs from the expected answers."""

    max_abs_diff: float
    """Infinity where values that have to be equal are not."""
    allowed: float
    worst_sample: int
    wrong_samples: int

    def describe(self, name: str, samples: int) -> str:
        """What is wrong with output `name`, with figures."""
        far = f"largest difference {self.max_abs_diff:.2e}, allowed {self.allowed:.2e}"
        unequal = "not equal to the expected answer in its text, infinities, NaN or shape"
        return (
            f"output {name!r} of sample {self.worst_sample}: {far if np.isfinite(self.max_abs_diff) else unequal}; "
            f"{self.wrong_samples:,} of {samples:,} samples are wrong"
        )


@dataclass(frozen=True)
class Parity:
    """How an artifact's answers differ from the model's."""

    outputs: dict[str, OutputParity]
    label_agreement: float | None
    """Share of samples, 0…1, on which both give the same label, over all batch sizes; None without labels."""
    samples: int
    batch_sizes: tuple[int, ...]

    @property
    def max_abs_diff(self) -> float:
        """The largest absolute difference over all outputs."""
        return max(output.max_abs_diff for output in self.outputs.values())

    @property
    def failures(self) -> list[str]:
        """What the gate refuses, with figures."""
        reasons = [o.describe(name, self.samples) for name, o in self.outputs.items() if o.wrong_samples]
        if self.label_agreement is not None and self.label_agreement < 1:
            reasons.append(f"same label on {self.label_agreement:.3%} of {self.samples:,} samples, wanted on all")
        return reasons

    def as_dict(self) -> dict[str, Any]:
        """The form in which a manifest keeps it."""
        return asdict(self) | {"batch_sizes": sorted(self.batch_sizes), "max_abs_diff": self.max_abs_diff}


def compare(
    model: LoadedModel,
    inputs: Tensors,
    expected: Tensors,
    title: str,
    tolerances: Mapping[str, Tolerance],
    batching: Batching = ONE_BY_ONE,
    scores: str | None = None,
) -> tuple[Parity, dict[str, np.ndarray]]:
    """Run all inputs, in batches of every size where the rows may be joined; return the differences and the answers.

    `scores` names the output whose largest element is the label, where there are labels.
    """
    check_names(model, inputs, expected)
    count = len(next(iter(inputs.values())))
    sizes = BATCH_SIZES if batching.may_join else (1,)
    worst = {name: np.zeros(count) for name in expected}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in expected}
    same_label = rows_seen = 0
    for size, span in tqdm(list(batches(count, sizes)), desc=title, unit="batch", leave=False, delay=BAR_DELAY_S):
        rows = run_samples(model, inputs, span, title)
        for name, array in expected.items():
            got = as_rows(rows[name], array[span])
            if got.shape != array[span].shape:
                raise StageError(
                    f"{title}: sample {span.start}, in a batch of {len(array[span])}, is answered with {name!r} of "
                    f"shape {list(got.shape)}, expected {list(array[span].shape)}"
                )
            worst[name][span] = np.maximum(worst[name][span], row_differences(got, array[span]))
            if size == sizes[0]:
                answers[name].append(got)
            if name == scores:
                same_label += int((got.argmax(axis=1) == array[span].argmax(axis=1)).sum())
                rows_seen += len(got)
    outputs = {name: output_parity(worst[name], tolerances[name].allowed) for name in expected}
    parity = Parity(outputs, same_label / rows_seen if rows_seen else None, count, sizes)
    return parity, {name: np.concatenate(parts) for name, parts in answers.items()}


def output_parity(differences: np.ndarray, allowed: float) -> OutputParity:
    """Sum up the differences of all samples of one output."""
    worst = int(differences.argmax())
    return OutputParity(float(differences[worst]), allowed, worst, int((differences > allowed).sum()))


def run_samples(model: LoadedModel, inputs: Tensors, rows: slice | list[int], title: str) -> dict[str, np.ndarray]:
    """Run some samples as one request; raises StageError with the runtime's words."""
    request = take(inputs, {spec.name: len(spec.shape) for spec in model.inputs}, rows)
    return run_request(model, request, f"{title}: sample {rows.start if isinstance(rows, slice) else rows[0]}")


def run_request(model: LoadedModel, request: Tensors, title: str) -> dict[str, np.ndarray]:
    """Run one request; raises StageError with the runtime's words."""
    try:
        return model.run(request)
    except StageError:
        raise
    except Exception as error:  # whatever a runtime raises at inputs that the model can't compute
        raise StageError(f"{title} can't be run: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The beginning of a runtime's message, which may be long."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"


def as_rows(answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Give the answer to one sample a first dimension where the model's tensor has none for the samples."""
    return answer[np.newaxis] if answer.ndim == expected.ndim - 1 and len(expected) == 1 else answer


def check_names(model: LoadedModel, inputs: Tensors, expected: Tensors) -> None:
    """Raise StageError unless the tensors are called as the model calls them."""
    for side, specs, tensors in (("inputs", model.inputs, inputs), ("outputs", model.outputs, expected)):
        names, wanted = {spec.name for spec in specs}, set(tensors)
        if (wanted != names) if side == "inputs" else not (wanted and wanted <= names):
            raise StageError(f"the model's {side} are {sorted(names)}, the samples have {sorted(wanted)}")


def batches(count: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """Every batch as its size and the samples it takes; the last of each size may be shorter."""
    for size in sizes:
        end = count if size == sizes[0] else min(count, TRIED)
        for start in range(0, end, size):
            yield size, slice(start, min(start + size, end))


def tolerances_of(expected: Tensors, absolute: float, relative: float) -> dict[str, Tolerance]:
    """The tolerance of each output: `absolute`, and `relative` to its largest finite value; 0 for what is no float."""
    return {
        name: Tolerance(absolute, relative, scale_of(array)) if array.dtype.kind == "f" else Tolerance(0.0)
        for name, array in expected.items()
    }


def scale_of(array: np.ndarray) -> float:
    """The largest finite magnitude of an array of floats; 0 without one."""
    return float(np.abs(array, dtype=np.float64).max(initial=0.0, where=np.isfinite(array)))


def row_differences(answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The largest absolute difference in each row; infinity where the shape or what has to be equal differs."""
    if answer.shape != expected.shape:
        return np.full(len(expected), np.inf)
    differences = element_differences(answer, expected)
    largest: np.ndarray = differences.reshape(len(expected), -1).max(axis=1, initial=0.0)
    return largest


def element_differences(answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The absolute difference of each element; infinity for unequal strings, booleans, infinities and NaN."""
    kinds = {answer.dtype.kind, expected.dtype.kind}
    if kinds - set("iuf"):
        return np.where(np.asarray(answer == expected, np.bool_), 0.0, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
    if kinds <= set("iu"):  # beyond 2^53 different integers are the same float
        return np.where(answer == expected, 0.0, np.maximum(differences, 1.0))
    both_nan = np.isnan(answer) & np.isnan(expected)
    return np.where(both_nan | (answer == expected), 0.0, np.where(np.isfinite(differences), differences, np.inf))
