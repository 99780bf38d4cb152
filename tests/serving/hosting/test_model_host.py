"""Versions come and go: loaded beside, swapped, retired when idle, tried again; nothing blocks anything else."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.hosting.model_host import ModelHost
from serving.hosting.model_repository import NewestVersions
from serving.hosting.model_version import HostedModel, Retries, Source, State

NEWEST = NewestVersions(1)
Faults = dict[int, Exception]


class Exactly:
    """A policy that doesn't care what failed, as TF Serving's."""

    def __init__(self, *versions: int) -> None:
        self._versions = set(versions)

    def choose(self, versions: Collection[int], failed: Collection[int]) -> set[int]:
        return self._versions & set(versions)


@dataclass(eq=False)
class Loaded:
    """What stands for a model."""

    number: int
    busy: bool = False
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class Loader:
    """Loads, or fails as it is told."""

    faults: Faults = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    may_load: threading.Event = field(default_factory=threading.Event)
    may_load_slow: threading.Event = field(default_factory=threading.Event)

    def __call__(self, name: str, number: int, folder: Path) -> Loaded:
        assert (self.may_load_slow if name == "slow" else self.may_load).wait(20)
        self.loads.append(number)
        if number in self.faults:
            raise self.faults[number]
        return Loaded(number)


def sources(*versions: int, state: object = 0) -> dict[int, Source]:
    return {number: Source(Path(str(number)), state) for number in versions}


def run(work: Callable[[ModelHost[Loaded], Loader], Any], faults: Faults | None = None, **options: Any) -> Any:
    async def begin() -> Any:
        loader = Loader(faults or {})
        loader.may_load.set()
        host: ModelHost[Loaded] = ModelHost(loader, **options)
        try:
            return await asyncio.wait_for(work(host, loader), 30)
        finally:
            host.close()

    return asyncio.run(begin())


async def settled(host: ModelHost[Loaded], offered: dict[int, Source], policy: Any = NEWEST) -> HostedModel[Loaded]:
    host.offer("m", policy, offered)
    model = host.models["m"]
    await host.wait_until(lambda: not model.is_pending and not host.is_retiring)
    return model


def test_new_version_takes_over_and_the_old_one_is_closed() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        old = (await settled(host, sources(1))).available[1]
        model = await settled(host, sources(1, 2))
        assert list(model.available) == [2]
        assert old.closed

    run(work)


def test_old_version_serves_while_the_new_one_loads_and_until_it_is_idle() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        model = await settled(host, sources(1))
        old = model.available[1]
        old.busy = True
        loader.may_load.clear()
        host.offer("m", NEWEST, sources(1, 2))
        await asyncio.sleep(0)
        assert list(model.available) == [1]
        loader.may_load.set()
        await host.wait_until(lambda: list(model.available) == [2])
        assert (old.closed, model.versions[1].state) == (False, State.UNLOADING)
        old.busy = False
        await host.wait_until(lambda: not host.is_retiring)
        assert (old.closed, model.versions[1].state) == (True, State.END)

    run(work)


def test_older_version_steps_in_for_one_that_cannot_be_loaded() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        model = await settled(host, sources(1, 2))
        assert list(model.available) == [1]
        assert str(model.versions[2].error) == "broken"
        await settled(host, sources(1, 2))
        assert loader.loads == [2, 1]  # not tried again unchanged

    run(work, {2: ValueError("broken")})


def test_policy_that_ignores_failures_keeps_what_it_has() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        await settled(host, sources(1), Exactly(1))
        model = await settled(host, sources(1, 2), Exactly(2))
        assert list(model.available) == [1]

    run(work, {2: ValueError("broken")})


def test_changed_files_are_loaded_beside_and_a_failure_keeps_the_old_ones() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        first = (await settled(host, sources(1))).available[1]
        loader.faults[1] = ValueError("half written")
        for _ in range(3):
            model = await settled(host, sources(1, state="half"))
        assert (model.available[1], str(model.versions[1].error)) == (first, "half written")
        assert loader.loads == [1, 1]
        del loader.faults[1]
        model = await settled(host, sources(1, state="whole"))
        assert model.available[1] is not first
        assert (first.closed, model.versions[1].error) == (True, None)

    run(work)


def test_files_that_could_not_be_read_are_tried_again_at_every_look_and_told_once() -> None:
    log: list[str] = []

    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        for _ in range(3):
            model = await settled(host, sources(1, 2))
            assert list(model.available) == [1]
        assert loader.loads.count(2) == 3
        del loader.faults[2]
        assert list((await settled(host, sources(1, 2))).available) == [2]

    run(work, {2: PermissionError("not yours")}, log=log.append)
    assert log.count("m version 2 can't be loaded: not yours") == 1


def test_failed_version_is_tried_again_after_the_interval() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        host.offer("m", Exactly(1), sources(1))
        await host.wait_until(lambda: len(loader.loads) > 1)
        del loader.faults[1]
        await host.wait_until(lambda: bool(host.models["m"].available))

    run(work, {1: ValueError("not yet")}, retries=Retries(1000, 0.001))


def test_model_that_is_gone_is_unloaded() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        old = (await settled(host, sources(1))).available[1]
        model = await settled(host, {})
        assert (model.available, model.newest, old.closed) == ({}, None, True)
        assert list((await settled(host, sources(1))).available) == [1]

    run(work)


def test_model_that_is_wanted_again_while_it_is_unloaded_is_loaded_at_once() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        model = await settled(host, sources(1))
        old = model.available[1]
        old.busy = True
        host.offer("m", NEWEST, {})
        assert model.versions[1].state is State.UNLOADING
        host.offer("m", NEWEST, sources(1))
        await host.wait_until(lambda: not model.is_pending)
        assert model.available[1] is not old
        old.busy = False
        await host.wait_until(lambda: not host.is_retiring)
        assert (old.closed, list(model.available)) == (True, [1])

    run(work)


def test_nothing_holds_a_version_that_is_unloaded() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        old = weakref.ref((await settled(host, sources(1))).available[1])
        await settled(host, sources(2))
        gc.collect()
        assert old() is None

    run(work)


def test_one_models_slow_load_holds_up_no_other_model() -> None:
    async def work(host: ModelHost[Loaded], loader: Loader) -> None:
        host.offer("slow", NEWEST, sources(1))
        await settled(host, sources(3))
        assert list(host.models["m"].available) == [3]
        assert host.models["slow"].is_pending
        loader.may_load_slow.set()

    run(work, load_threads=2)


def test_newest_versions_are_those_that_did_not_fail() -> None:
    assert NewestVersions(2).choose([1, 2, 3, 4], {3}) == {4, 2}
    assert NewestVersions(0).choose([1, 2, 3], set()) == {1, 2, 3}
