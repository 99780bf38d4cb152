"""The micro-batcher: what runs together, what never does, and what each request is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from contract import Tensors
from serving.hosting.batcher import Batcher, DeadlineExceeded, Outputs, QueueFull

MODES = pytest.mark.parametrize("in_thread", [False, True])


class Doubler:
    """A model that keeps the sizes of its batches; NaN in an input is its error."""

    def __init__(self, run_s: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.run_s = run_s

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        x = inputs["x"]
        self.sizes.append(len(x))
        time.sleep(self.run_s)
        if x.dtype.kind == "f" and np.isnan(x).any():
            raise ValueError("NaN is no number")
        return {"y": 2 * x}


def rows(value: float, count: int = 1, width: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.full((count, width), value, np.float32)}


def run(work: Callable[[Batcher], Awaitable[Any]], model: Doubler, **options: Any) -> Any:
    async def both() -> Any:
        batcher = Batcher(model, **{"max_batch_size": 8, **options})
        try:
            return await work(batcher)
        finally:
            batcher.close()

    return asyncio.run(both())


async def ask(batcher: Batcher, values: list[float]) -> list[Any]:
    return await asyncio.gather(*(batcher.submit(rows(v)) for v in values), return_exceptions=True)


@MODES
def test_waiting_requests_run_together_and_get_their_own_rows(in_thread: bool) -> None:
    model = Doubler()
    answers = run(lambda b: ask(b, list(range(20))), model, in_thread=in_thread)
    assert model.sizes == [8, 8, 4]
    assert [float(answer["y"][0, 0]) for answer in answers] == [2.0 * v for v in range(20)]


def test_answer_tells_where_its_time_went() -> None:
    (first, *_, last) = run(lambda b: ask(b, list(range(16))), Doubler(0.01))
    assert isinstance(first, Outputs)
    assert first.batch_rows == 8
    assert first.compute_us >= 10_000
    assert last.queue_us >= 10_000 > first.queue_us


def test_lone_request_does_not_wait_for_the_delay() -> None:
    async def work(batcher: Batcher) -> float:
        began = time.perf_counter()
        await batcher.submit(rows(1))
        return time.perf_counter() - began

    assert run(work, Doubler(), max_queue_delay_us=5_000_000) < 2.0


def test_several_requests_wait_for_more_up_to_the_delay() -> None:
    async def work(batcher: Batcher) -> None:
        first = [batcher.submit(rows(1)), batcher.submit(rows(2))]
        await asyncio.sleep(0.05)
        await asyncio.gather(*first, batcher.submit(rows(3)))

    model = Doubler()
    run(work, model, max_queue_delay_us=300_000)
    assert model.sizes == [3]


def test_full_batch_does_not_wait_for_the_delay() -> None:
    model = Doubler()
    began = time.perf_counter()
    run(lambda b: ask(b, list(range(8))), model, max_queue_delay_us=5_000_000)
    assert model.sizes == [8]
    assert time.perf_counter() - began < 3


def test_different_shapes_and_dtypes_never_share_a_run() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        kinds = [rows(1, width=3), rows(2, width=5), {"x": np.ones((1, 3), np.int32)}, rows(4, width=3)]
        return await asyncio.gather(*(batcher.submit(kind) for kind in kinds))

    model = Doubler()
    answers = run(work, model)
    assert sorted(model.sizes) == [1, 1, 2]
    assert [answer["y"].shape[1] for answer in answers] == [3, 5, 3, 3]


def test_neighbours_bad_input_fails_nobody_else() -> None:
    values = [1.0, float("nan"), 3.0]
    first, second, third = run(lambda b: ask(b, values), Doubler())
    assert (first["y"][0, 0], third["y"][0, 0]) == (2.0, 6.0)
    assert isinstance(second, ValueError)


def test_full_queue_refuses_at_once() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        pending = [batcher.submit(rows(i)) for i in range(4)]
        with pytest.raises(QueueFull, match="4 requests wait already"):
            batcher.submit(rows(5))
        pending[0].cancel()
        return await asyncio.gather(*pending[1:], batcher.submit(rows(6)))

    assert len(run(work, Doubler(), max_queue_size=4)) == 4


def test_cancelled_and_late_requests_cost_no_run() -> None:
    async def work(batcher: Batcher) -> None:
        gone, late = batcher.submit(rows(1)), batcher.submit(rows(2), time.perf_counter() - 1)
        gone.cancel()
        with pytest.raises(DeadlineExceeded, match="the deadline passed"):
            await late

    model = Doubler()
    run(work, model)
    assert model.sizes == []


def test_request_larger_than_a_batch_runs_alone_and_off_the_loop() -> None:
    async def work(batcher: Batcher) -> int:
        big = batcher.submit(rows(1, count=50))
        rounds = 0
        while not big.done():
            await asyncio.sleep(0.005)
            rounds += 1
        return rounds

    model = Doubler(0.1)
    assert run(work, model) > 3
    assert model.sizes == [50]


def test_without_batching_every_request_runs_alone() -> None:
    model = Doubler()
    run(lambda b: ask(b, [1, 2, 3]), model, max_batch_size=1)
    assert model.sizes == [1, 1, 1]


def test_output_without_the_batch_falls_back_to_single_runs() -> None:
    def total(inputs: Tensors) -> dict[str, np.ndarray]:
        return {"y": np.float32([inputs["x"].sum()]), "z": np.float32(0)}

    answers = run(lambda b: ask(b, [1, 2]), total)  # type: ignore[arg-type]
    assert [float(answer["y"][0]) for answer in answers] == [3.0, 6.0]


def test_kinds_take_turns_under_load() -> None:
    order: list[int] = []

    def model(inputs: Tensors) -> dict[str, np.ndarray]:
        order.append(inputs["x"].shape[1])
        return {"y": inputs["x"]}

    async def work(batcher: Batcher) -> None:
        many = [batcher.submit(rows(i, width=3)) for i in range(40)]
        await asyncio.gather(batcher.submit(rows(0, width=5)), *many)

    run(work, model)  # type: ignore[arg-type]
    assert order.index(5) == 1


def test_every_run_and_failure_is_observed() -> None:
    seen: list[tuple[int, int]] = []
    failures: list[BaseException] = []
    run(
        lambda b: ask(b, [1.0, float("nan")]),
        Doubler(),
        observe=lambda count, queued, compute: seen.append((count, len(queued))),
        on_failure=failures.append,
    )
    assert seen == [(2, 2)]
    assert [type(f) for f in failures] == [ValueError]
