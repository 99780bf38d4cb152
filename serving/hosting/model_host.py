"""Loads, warms up, swaps and retires versions of models: the one mechanism under every server of our own.

`offer` is told what lies on the disk; a `VersionPolicy` says which of it should be in service. A new version is loaded
beside the old one and takes over when it is warm; the old one answers what it was given and is closed. A version that
can't be loaded keeps its error, is tried again when its files change (or after a while, see `Retries`), and holds up
nothing: no other model, no other version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Generic

from serving.hosting.model_version import (
    HostedModel,
    Load,
    Retries,
    ServableT,
    Source,
    State,
    Version,
    VersionPolicy,
)

DRAIN_POLL_S = 0.01
NO_RETRIES = Retries()


class ModelHost(Generic[ServableT]):
    """All models and their versions; every method belongs to the event loop's thread."""

    def __init__(
        self,
        load: Load[ServableT],
        *,
        retries: Retries = NO_RETRIES,
        load_threads: int = 1,
        log: Callable[[str], None] = lambda _: None,
        on_change: Callable[[HostedModel[ServableT]], None] = lambda _: None,
    ) -> None:
        """Load by `load` in `load_threads`; `on_change` is told when other versions of a model are in service."""
        self.models: dict[str, HostedModel[ServableT]] = {}
        self.is_closed = False
        self._load = load
        self._retries = retries
        self._log = log
        self._on_change = on_change
        self._threads = ThreadPoolExecutor(max(1, load_threads), "load")
        self._retiring: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Event] = set()

    def offer(self, name: str, policy: VersionPolicy, sources: Mapping[int, Source]) -> None:
        """Serve from now on what `policy` chooses from `sources`; nothing at all where there are none."""
        model = self.models.setdefault(name, HostedModel(name, policy))
        model.policy, model.sources = policy, sources
        for number, version in list(model.versions.items()):
            if number in sources and isinstance(version.error, OSError) and version.state is State.END:
                self._start(model, Version(number, sources[number], error=version.error))  # it may be readable now
        self._advance(model)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the models holds; it is looked at after every change of a version's state."""
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            while not condition():
                await changed.wait()
                changed.clear()
        finally:
            self._waiters.discard(changed)

    @property
    def is_retiring(self) -> bool:
        """Whether a version still answers what it was given before it leaves."""
        return bool(self._retiring)

    def close(self) -> None:
        """Stop loading; what is loaded answers until the process ends."""
        self.is_closed = True
        for model in self.models.values():
            for version in model.versions.values():
                for each in filter(None, (version, version.replacement)):
                    if each.task is not None:
                        each.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # the transitions

    def _advance(self, model: HostedModel[ServableT]) -> None:
        """Move towards serving what the policy chooses: load first, unload once the newest chosen one is there."""
        failed = {n for n, version in model.versions.items() if version.has_failed(model.sources.get(n))}
        chosen = model.policy.choose(sorted(model.sources), failed)
        for number in chosen:
            self._bring(model, number, model.sources[number])
        pending = any(model.versions[number].is_pending for number in chosen)
        serves = any(model.versions[number].state is State.AVAILABLE for number in chosen)
        for number, version in model.versions.items():
            if number in chosen:
                continue
            if version.state is State.AVAILABLE:
                if not pending and (serves or not chosen):
                    self._unload(model, version)
            elif number not in failed:
                version.dropped = True
                if version.task is not None:
                    version.task.cancel()
        self._notify()

    def _bring(self, model: HostedModel[ServableT], number: int, source: Source) -> None:
        """Load a version that isn't there or is on its way out, or beside the one that is, where its files changed."""
        version = model.versions.get(number)
        if version is None or version.state is State.UNLOADING or version.is_worth_loading(source):
            self._start(model, Version(number, source))
        elif version.state is State.AVAILABLE and version.source != source:
            newer = version.replacement
            if newer is None or (not newer.is_pending and newer.is_worth_loading(source)):
                version.replacement = newer = Version(number, source)
                newer.task = asyncio.ensure_future(self._load_and_swap(model, newer))
        elif version.state is State.AVAILABLE:  # the files that it was loaded from are back
            version.replacement = version.error = None

    def _start(self, model: HostedModel[ServableT], version: Version[ServableT]) -> None:
        model.versions[version.number] = version
        version.task = asyncio.ensure_future(self._load_and_swap(model, version))

    async def _load_and_swap(self, model: HostedModel[ServableT], version: Version[ServableT]) -> None:
        """Load a version, again and again while it fails, and put it into service."""
        loop, number = asyncio.get_running_loop(), version.number
        for attempt in range(self._retries.count + 1):
            if attempt:
                await asyncio.sleep(self._retries.interval_s)
            version.state = State.LOADING
            try:
                arguments = (model.name, number, version.source.folder)
                servable = await loop.run_in_executor(self._threads, self._load, *arguments)
            except asyncio.CancelledError:
                version.state = State.END
                self._notify()
                raise
            except Exception as error:  # whatever a runtime raises on a bad file; it is reported as the version's state
                self._fail(model, version, error)
                continue
            self._put_in_service(model, version, servable)
            return

    def _fail(self, model: HostedModel[ServableT], version: Version[ServableT], error: Exception) -> None:
        current = model.versions.get(version.number)
        is_news = current is None or current.error is None or str(current.error) != str(error)
        error.__traceback__ = None  # its frames would keep what was loaded so far in memory
        version.state, version.error = State.END, error
        if current is not None:
            current.error = error
        if is_news:
            self._log(f"{model.name} version {version.number} can't be loaded: {error}")
        self._advance(model)  # an older version may have to step in

    def _put_in_service(self, model: HostedModel[ServableT], version: Version[ServableT], servable: ServableT) -> None:
        replaced = model.versions.get(version.number)
        version.servable, version.state, version.error = servable, State.AVAILABLE, None
        model.versions[version.number] = version
        self._choose_newest(model)
        self._log(f"{model.name} version {version.number} is available")
        if replaced is not None and replaced is not version:
            replaced.state = State.UNLOADING
            self._retire(replaced)
        self._advance(model)  # what it makes superfluous goes without waiting for the next look

    def _choose_newest(self, model: HostedModel[ServableT]) -> None:
        available = [version for version in model.versions.values() if version.state is State.AVAILABLE]
        model.newest = max(available, key=lambda version: version.number, default=None)
        self._on_change(model)

    def _unload(self, model: HostedModel[ServableT], version: Version[ServableT]) -> None:
        """Take a version out of service at once; it is closed when it has answered what it was given."""
        version.state, version.dropped = State.UNLOADING, True
        self._choose_newest(model)
        self._log(f"{model.name} version {version.number} is being unloaded")
        self._retire(version)

    def _retire(self, version: Version[ServableT]) -> None:
        newer = version.replacement
        if newer is not None and newer.task is not None and newer.is_pending:
            newer.task.cancel()
        task = asyncio.ensure_future(self._close_when_idle(version))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        task.add_done_callback(lambda _: self._notify())

    async def _close_when_idle(self, version: Version[ServableT]) -> None:
        await asyncio.sleep(0)  # a request that has just found it may not have been queued yet
        servable = version.servable
        while servable is not None and servable.busy:
            await asyncio.sleep(DRAIN_POLL_S)
        version.servable = version.replacement = None
        if servable is not None and not self.is_closed:
            await asyncio.get_running_loop().run_in_executor(self._threads, servable.close)
        version.state = State.END

    def _notify(self) -> None:
        for changed in self._waiters:
            changed.set()
