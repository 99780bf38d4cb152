"""Prove that the rows of a request are independent, so that servers may join the requests of different clients.

A free first dimension says nothing of the kind: a softmax over it, a filter or a normalisation over the batch have one
as well. The proof runs real samples alone and then together, in several batch sizes, orders and neighbourhoods, and
holds every row of every output to the sample's own answer. Anything else than equality refuses the model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from contract import PROVEN_ROWS, Batching, StageError, Tensors, TensorSpec
from export.format import LoadedModel
from export.parity import BAR_DELAY_S, element_differences, first_line, row_differences, run_request, scale_of
from export.samples import take

SIZES = (2, 3, 7, PROVEN_ROWS)
SHORT_ORDERS = ([0, 1], [1, 0], [0, 1, 0])
MOST_SAMPLES = 32
ROUNDING = {"f2": 1e-2, "f4": 1e-5, "f8": 1e-5}
"""What another order of summation may change, relative to an output's largest value; some ten times its precision."""
GENERATED = re.compile(r"unk__\d+|.*DynamicDimension.*|.*_dim_\d+|None|\?|unknown", re.IGNORECASE)
"""Names of dimensions that converters make up: two of them may be the same dimension."""


def prove_batching(model: LoadedModel, inputs: Tensors, title: str) -> Batching:
    """Try whether rows are independent; raises StageError where a sample can't even be run alone."""
    if reason := batch_obstacle(model):
        return Batching("refused", reason)
    if model.stateful:
        return Batching("refused", f"a run may change the model ({model.stateful}), so nothing may be tried on it")
    ranks = {spec.name: len(spec.shape) for spec in model.inputs}
    requests = [take(inputs, ranks, [index]) for index in different_samples(inputs)]
    if len(requests) < 2:
        return Batching("unknown", "fewer than two different samples: nothing can show that rows are independent")
    answers = [run_request(model, request, f"{title}: sample {index}") for index, request in enumerate(requests)]
    trial = Trial(model, requests, answers, title)
    if reason := trial.irregular():
        return Batching("refused", reason)
    for order in tqdm(
        list(orders(len(requests))), desc=f"{title} batching", unit="batch", leave=False, delay=BAR_DELAY_S
    ):
        if reason := trial.mixing(order):
            return Batching("refused", reason)
    if reason := next((why for size in SIZES if (why := trial.neighbours(size))), ""):
        return Batching("refused", reason)
    if reason := mixing_at_half_size(model, inputs, title):
        return Batching("refused", reason)
    if output := trial.constant_output():
        reason = f"all samples have the same answer in output {output!r}: give samples whose answers differ"
        return Batching("unknown", reason)
    sizes = ", ".join(map(str, SIZES))
    return Batching("proven", f"{len(requests)} different samples, alone and in batches of {sizes} in several orders")


def batch_obstacle(model: LoadedModel) -> str:
    """Why the tensors have no free first dimension in common; "" where they may have one."""
    for side, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] != -1:
                return f"{side} {spec.name!r} has shape {list(spec.shape)}, whose first dimension is not free"
    names = {batch_name(spec): spec.name for spec in (*model.outputs, *model.inputs) if batch_name(spec)}
    if len(names) > 1:
        described = ", ".join(f"{name!r} of {tensor!r}" for name, tensor in sorted(names.items()))
        return f"the first dimensions have different names ({described}), so they are no common batch"
    return ""


def batch_name(spec: TensorSpec) -> str:
    """The name that the model gives to the first dimension; "" without one."""
    name = spec.dimensions[0] if spec.dimensions else ""
    return "" if GENERATED.fullmatch(name) else name


def different_samples(inputs: Tensors) -> list[int]:
    """The first samples that differ from each other in at least one input."""
    count = len(next(iter(inputs.values())))
    seen: dict[tuple[object, ...], int] = {}
    for index in range(count):
        key = tuple(str(a[[index]].tolist()) if a.dtype == np.object_ else a[index].tobytes() for a in inputs.values())
        seen.setdefault(key, index)
        if len(seen) == MOST_SAMPLES:
            break
    return list(seen.values())


@dataclass(frozen=True)
class Trial:
    """Requests of one sample each, with the answer that each has alone, to be joined as a server joins them."""

    model: LoadedModel
    requests: list[dict[str, np.ndarray]]
    alone: list[dict[str, np.ndarray]]
    title: str

    def allowed(self, output: str) -> float:
        """How far two right answers of an output may lie apart; 0 for what is no float."""
        arrays = [answers[output] for answers in self.alone]
        relative = ROUNDING.get(arrays[0].dtype.str[1:], 0.0)
        return relative * max(scale_of(array) for array in arrays) if relative else 0.0

    def irregular(self) -> str:
        """Which output of a lone sample has another number of rows, or another answer at the second run; "" if none."""
        again = run_request(self.model, self.requests[0], self.title)
        rows = {len(array) for array in self.requests[0].values()}
        if len(rows) > 1:
            return f"the inputs of a sample have different numbers of rows: {sorted(rows)}"
        for spec in self.model.outputs:
            arrays = [answers[spec.name] for answers in self.alone]
            for array in arrays:
                if {*array.shape[:1]} != rows:
                    return f"{rows.pop()} rows are answered with output {spec.name!r} of shape {list(array.shape)}"
            if differs(again[spec.name], arrays[0], self.allowed(spec.name)):
                return f"two runs of one sample differ in output {spec.name!r}"
        return ""

    def constant_output(self) -> str:
        """An output that can't show a mix-up, since all samples have the same answer; "" without one."""
        for spec in self.model.outputs:
            first, *others = (answers[spec.name] for answers in self.alone)
            if not any(differs(array, first, self.allowed(spec.name)) for array in others):
                return spec.name
        return ""

    def mixing(self, order: list[int]) -> str:
        """Why a batch in this order doesn't give each row the answer that it has alone; "" where it does."""
        size = len(order)
        try:
            together = run_request(self.model, joined([self.requests[index] for index in order]), self.title)
        except StageError as error:
            return f"a batch of {size} can't be run: {first_line(error.__cause__ or error)}"
        for spec in self.model.outputs:
            wanted, got = [self.alone[index][spec.name] for index in order], together[spec.name]
            rows = size * len(wanted[0])
            if len({array.shape for array in wanted}) > 1 or got.shape != (rows, *wanted[0].shape[1:]):
                return f"a batch of {size} is answered with output {spec.name!r} of shape {list(got.shape)}"
            off, allowed = row_differences(got, np.concatenate(wanted)).max(), self.allowed(spec.name)
            if off > allowed:
                return (
                    f"output {spec.name!r} of a row depends on the rows beside it: by {off:.2e} in a batch of {size}, "
                    f"where rounding explains {allowed:.0e}"
                )
        return ""

    def neighbours(self, size: int) -> str:
        """Which output of a row changes with the rows beside it, its place and the batch's size being the same; "".

        Such a run computes a row in the same steps, so each element is held to its own scale: beside a column of
        millions a column of ones may not change either.
        """
        count, rows = len(self.requests), len(next(iter(self.requests[0].values())))
        first = [place % count for place in range(size)]
        before = self.together(first)
        for kept in (0, 1):
            changed = [row if place % 2 == kept else (row + count // 2) % count for place, row in enumerate(first)]
            after, same = self.together(changed), np.repeat(np.arange(size) % 2 == kept, rows)
            for name, array in before.items():
                far = self.beyond_rounding(name, array[same], after[name][same])
                if far:
                    return f"output {name!r} of a row depends on the rows beside it: by {far:.2e} in a batch of {size}"
        return ""

    def together(self, order: list[int]) -> dict[str, np.ndarray]:
        """The answer to a batch in this order, which `mixing` has found to be regular."""
        return run_request(self.model, joined([self.requests[index] for index in order]), self.title)

    def beyond_rounding(self, output: str, a: np.ndarray, b: np.ndarray) -> float:
        """The largest difference of an element that the rounding of elements in its place can't explain; 0 if none."""
        if a.tobytes() == b.tobytes():
            return 0.0
        differences = element_differences(a, b)
        relative = ROUNDING.get(a.dtype.str[1:], 0.0)
        if relative:
            answers = np.abs(np.concatenate([answer[output] for answer in self.alone]))
            scales = answers.max(axis=0, initial=0.0, where=np.isfinite(answers))
            differences = np.where(differences > relative * scales, differences, 0.0)
        return float(differences.max(initial=0.0))


def mixing_at_half_size(model: LoadedModel, inputs: Tensors, title: str) -> str:
    """Why rows depend on each other where another free dimension is half as long as in the samples; "" if they don't.

    A model may cut its input into pieces that are rows by chance. What it can't compute at all shows nothing, unless
    requests that fail alone are answered together.
    """
    ranks = {spec.name: len(spec.shape) for spec in model.inputs}
    for dimension, halved in halved_inputs(model, inputs):
        requests = [take(halved, ranks, [index]) for index in different_samples(halved)[:4]]
        alone = [attempt(model, request, title) for request in requests]
        answers = [answer for answer in alone if answer is not None]
        reason = ""
        if len(answers) > 1 and len(answers) == len(requests):
            trial = Trial(model, requests, answers, title)
            reason = trial.irregular() or next((why for order in SHORT_ORDERS if (why := trial.mixing(order))), "")
        elif not answers and any(
            attempt(model, joined(requests[:count]), title) is not None for count in range(2, len(requests) + 1)
        ):
            reason = "requests that the model refuses alone are answered together"
        if reason:
            return f"with half of dimension {dimension}: {reason}"
    return ""


def halved_inputs(model: LoadedModel, inputs: Tensors) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The samples with one free dimension, beside the first, cut to its half in all inputs that share it."""
    axes: dict[str, list[tuple[str, int]]] = {}
    for spec in model.inputs:
        shift = inputs[spec.name].ndim - len(spec.shape)  # a whole tensor for each sample has one axis more
        for axis in range(1, len(spec.shape)):
            if spec.shape[axis] == -1:
                name = spec.dimensions[axis] if spec.dimensions else ""
                key = str(axis) if not name or GENERATED.fullmatch(name) else repr(name)
                axes.setdefault(key, []).append((spec.name, axis + shift))
    for key, places in axes.items():
        halved = dict(inputs)
        for name, axis in places:
            halved[name] = np.take(halved[name], range(halved[name].shape[axis] // 2), axis)
        if all(halved[name].shape[axis] for name, axis in places):
            yield key, halved


def attempt(model: LoadedModel, request: Tensors, title: str) -> dict[str, np.ndarray] | None:
    """The answer to a request; None where the model can't compute it."""
    try:
        return run_request(model, request, title)
    except StageError:
        return None


def joined(requests: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Several requests as one, as a server joins them."""
    return {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}


def differs(a: np.ndarray, b: np.ndarray, allowed: float) -> bool:
    """Whether two answers are different by more than rounding."""
    return a.shape != b.shape or bool((row_differences(a, b) > allowed).any())


def orders(count: int) -> Iterator[list[int]]:
    """Which samples stand where in each batch: every sample at every position, beside other neighbours.

    Small batches are turned through all positions; a large one is tried as it is, turned, reversed and shuffled.
    """
    shuffle = random.Random(1)  # noqa: S311 - an arrangement, the same each time
    for size in SIZES:
        turns = range(max(size, 2)) if size <= 7 else (0, count // 2 or 1)
        yield from ([(start + turn) % count for start in range(size)] for turn in turns)
        yield [(size - start) % count for start in range(size)]
        yield shuffle.choices(range(count), k=size)
        yield [0] * (size - 1) + [1]
        yield [1] + [0] * (size - 1)
