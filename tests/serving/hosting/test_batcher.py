"""The micro-batcher: what runs together, what never does, and what each request is told. Nothing here waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from contract import Tensors
from serving.hosting.batcher import Batcher, DeadlineExceeded, Outputs, QueueFull
from serving.hosting.run_placement import RunPlacement

PLACES = pytest.mark.parametrize("place", ["loop", "thread"])
Runner = Callable[..., Any]


class Doubler:
    """A model that keeps the sizes of its batches; NaN in an input is its error."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: list[str] = []

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        x = inputs["x"]
        self.sizes.append(len(x))
        self.threads.append(threading.current_thread().name)
        if x.dtype.kind == "f" and np.isnan(x).any():
            raise ValueError("NaN is no number")
        return {"y": 2 * x}


def rows(value: float, count: int = 1, width: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.full((count, width), value, np.float32)}


@pytest.fixture
def run(virtual_time: Callable[..., Any]) -> Runner:
    """Do `work` with a batcher whose clock is the loop's."""

    def begin(work: Callable[[Batcher], Awaitable[Any]], model: Any, place: str = "loop", **options: Any) -> Any:
        async def both() -> Any:
            clock = asyncio.get_running_loop().time
            placement = RunPlacement(place)
            batcher = Batcher(model, **{"max_batch_size": 8, "placement": placement, "clock": clock, **options})
            try:
                return await work(batcher)
            finally:
                batcher.close()

        return virtual_time(both())

    return begin


async def ask(batcher: Batcher, values: list[float]) -> list[Any]:
    return await asyncio.gather(*(batcher.submit(rows(v)) for v in values), return_exceptions=True)


@PLACES
def test_waiting_requests_run_together_and_get_their_own_rows(run: Runner, place: str) -> None:
    model = Doubler()
    answers = run(lambda b: ask(b, list(range(20))), model, place)
    assert model.sizes == [8, 8, 4]
    assert [float(answer["y"][0, 0]) for answer in answers] == [2.0 * v for v in range(20)]


def test_answer_tells_where_its_time_went(run: Runner) -> None:
    def slow(inputs: Tensors) -> dict[str, np.ndarray]:
        asyncio.get_running_loop().pass_time(0.01)  # type: ignore[attr-defined]
        return {"y": inputs["x"]}

    first, *_, last = run(lambda b: ask(b, list(range(16))), slow)
    assert isinstance(first, Outputs)
    assert (first.batch_rows, first.compute_us) == (8, pytest.approx(10_000))
    assert last.queue_us > 10_000 > first.queue_us


def test_lone_request_does_not_wait_for_the_delay(run: Runner) -> None:
    async def work(batcher: Batcher) -> float:
        await batcher.submit(rows(1))
        return asyncio.get_running_loop().time()

    assert run(work, Doubler(), max_queue_delay_us=5_000_000) < 0.01


def test_several_requests_wait_for_more_up_to_the_delay(run: Runner) -> None:
    async def work(batcher: Batcher) -> float:
        first = [batcher.submit(rows(1)), batcher.submit(rows(2))]
        await asyncio.sleep(0.05)
        await asyncio.gather(*first, batcher.submit(rows(3)))
        return asyncio.get_running_loop().time()

    model = Doubler()
    assert run(work, model, max_queue_delay_us=300_000) == pytest.approx(0.3, abs=0.01)
    assert model.sizes == [3]


def test_full_batch_does_not_wait_for_the_delay(run: Runner) -> None:
    async def work(batcher: Batcher) -> float:
        first = [batcher.submit(rows(v)) for v in range(4)]
        await asyncio.sleep(0.05)
        await asyncio.gather(*first, *(batcher.submit(rows(v)) for v in range(4)))
        return asyncio.get_running_loop().time()

    model = Doubler()
    assert run(work, model, max_queue_delay_us=5_000_000) < 0.1
    assert model.sizes == [8]


def test_different_shapes_and_dtypes_never_share_a_run(run: Runner) -> None:
    async def work(batcher: Batcher) -> list[Any]:
        kinds = [rows(1, width=3), rows(2, width=5), {"x": np.ones((1, 3), np.int32)}, rows(4, width=3)]
        return await asyncio.gather(*(batcher.submit(kind) for kind in kinds))

    model = Doubler()
    answers = run(work, model)
    assert sorted(model.sizes) == [1, 1, 2]
    assert [answer["y"].shape[1] for answer in answers] == [3, 5, 3, 3]


def test_neighbours_bad_input_fails_nobody_else(run: Runner) -> None:
    first, second, third = run(lambda b: ask(b, [1.0, float("nan"), 3.0]), Doubler())
    assert (first["y"][0, 0], third["y"][0, 0]) == (2.0, 6.0)
    assert isinstance(second, ValueError)


def test_full_queue_refuses_at_once(run: Runner) -> None:
    async def work(batcher: Batcher) -> list[Any]:
        pending = [batcher.submit(rows(i)) for i in range(4)]
        with pytest.raises(QueueFull, match="4 requests wait already"):
            batcher.submit(rows(5))
        pending[0].cancel()
        return await asyncio.gather(*pending[1:], batcher.submit(rows(6)))

    assert len(run(work, Doubler(), max_queue_size=4)) == 4


def test_cancelled_and_late_requests_cost_no_run(run: Runner) -> None:
    async def work(batcher: Batcher) -> None:
        gone, late = batcher.submit(rows(1)), batcher.submit(rows(2), -1.0)
        gone.cancel()
        with pytest.raises(DeadlineExceeded, match="the deadline passed"):
            await late

    model = Doubler()
    run(work, model)
    assert model.sizes == []


def test_run_larger_than_any_before_leaves_the_loop(run: Runner) -> None:
    async def work(batcher: Batcher) -> None:
        for count in (1, 1, 50, 50, 1):
            await batcher.submit(rows(1, count=count))

    model = Doubler()
    run(work, model, placement=RunPlacement())
    assert [name == "MainThread" for name in model.threads] == [False, True, False, True, True]


def test_without_batching_every_request_runs_alone(run: Runner) -> None:
    model = Doubler()
    run(lambda b: ask(b, [1, 2, 3]), model, max_batch_size=1)
    assert model.sizes == [1, 1, 1]


def test_output_with_other_rows_than_the_input_ends_the_joining(run: Runner) -> None:
    sizes: list[int] = []

    def total(inputs: Tensors) -> dict[str, np.ndarray]:
        sizes.append(len(inputs["x"]))
        return {"y": np.float32([inputs["x"].sum()]), "z": np.float32(0)}

    async def work(batcher: Batcher) -> list[Any]:
        return await ask(batcher, [1, 2]) + await ask(batcher, [3, 4])

    answers = run(work, total)
    assert [float(answer["y"][0]) for answer in answers] == [3.0, 6.0, 9.0, 12.0]
    assert sizes == [2, 1, 1, 1, 1]


def test_answer_may_be_made_in_a_thread(run: Runner) -> None:
    async def work(batcher: Batcher) -> list[Any]:
        loop = asyncio.get_running_loop()
        good = batcher.submit(rows(1), then=lambda outputs: loop.run_in_executor(None, list, outputs))
        bad = batcher.submit(rows(1), then=lambda outputs: loop.run_in_executor(None, int, "x"))
        return await asyncio.gather(good, bad, return_exceptions=True)

    good, bad = run(work, Doubler())
    assert good == ["y"]
    assert isinstance(bad, ValueError)


def test_kinds_alternate_under_load(run: Runner) -> None:
    order: list[int] = []

    def model(inputs: Tensors) -> dict[str, np.ndarray]:
        order.append(inputs["x"].shape[1])
        return {"y": inputs["x"]}

    async def work(batcher: Batcher) -> None:
        many = [batcher.submit(rows(i, width=3)) for i in range(40)]
        await asyncio.gather(batcher.submit(rows(0, width=5)), *many)

    run(work, model)
    assert order.index(5) == 1


def test_every_run_and_failure_is_observed(run: Runner) -> None:
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


def test_close_fails_what_waits(run: Runner) -> None:
    async def work(batcher: Batcher) -> Any:
        waiting = batcher.submit(rows(1))
        batcher.close()
        return (await asyncio.gather(waiting, return_exceptions=True))[0]

    assert str(run(work, Doubler())) == "the model was unloaded"
