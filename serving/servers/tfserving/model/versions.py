"""Finds, loads, swaps and unloads versions of models, as the genuine server's manager does, without its traps.

Every `poll` looks at the base paths. A new version is loaded and warmed up beside the old one, then takes over; the old
one answers what it had taken and is closed. A version that can't be loaded is END with its error at once, is tried
again in the background, and holds up nothing: not other models, not later versions.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from serving.servers.tfserving.model.model_configs import ModelConfig, label_refusal
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.status import Status, invalid

START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
DRAIN_POLL_S = 0.01
Load = Callable[[str, int, Path], Servable]


@dataclass
class Version:
    """One version of one model, ever seen."""

    number: int
    path: Path
    state: str = START
    error: Status | None = None
    servable: Servable | None = None
    task: asyncio.Task[None] | None = None
    """Loads it, and tries again."""
    dropped: bool = False
    """Not wanted any more: should it be wanted again, it is loaded anew."""


@dataclass
class ServedModel:
    """One model, ever configured."""

    config: ModelConfig | None
    versions: dict[int, Version] = field(default_factory=dict)
    wanted: dict[int, Path] = field(default_factory=dict)
    """The versions to serve, as the last look at the base path found them."""
    newest: Version | None = None
    """The newest AVAILABLE version: what requests without a version get."""


@dataclass(frozen=True)
class Retries:
    """How often, and how long after each other, a version that failed is tried again."""

    count: int = 5
    interval_s: float = 60.0


class Library:
    """All models and their versions."""

    def __init__(self, load: Load, retries: Retries, load_threads: int, unavailable_labels: bool) -> None:
        self.models: dict[str, ServedModel] = {}
        self._load = load
        self._retries = retries
        self._unavailable_labels = unavailable_labels
        self._loaders = ThreadPoolExecutor(max(1, load_threads), "load")
        self._unloads: set[asyncio.Task[None]] = set()
        self._closed = False

    # what requests ask

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version that a request means; raises Status."""
        model = self.models.get(name)
        if label is not None:
            labels = model.config.labels if model and model.config else {}
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = labels[label]
        found = model and (model.newest if version is None else model.versions.get(version))
        if not found or found.servable is None or found.state != AVAILABLE:
            what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Status("NOT_FOUND", f"Servable not found for request: {what}")
        return found.servable

    def states(self, name: str, version: int | None = None) -> list[Version]:
        """The versions of a model, newest first, or the one asked for; raises Status."""
        model = self.models.get(name)
        if version is not None and (model is None or version not in model.versions):
            raise Status("NOT_FOUND", f"Could not find version {version} of model {name}")
        if model is None or not model.versions:
            raise Status("NOT_FOUND", f"Could not find any versions of model {name}")
        numbers = sorted(model.versions, reverse=True) if version is None else [version]
        found = [model.versions[number] for number in numbers]
        if self._closed:  # not ready any more, while what still comes is answered
            found = [replace(one, state=UNLOADING) if one.state == AVAILABLE else one for one in found]
        return found

    # what configuration and the file system ask

    def configure(self, configs: list[ModelConfig]) -> None:
        """Serve these models from now on, unload all others; raises Status for a label of a version not loaded."""
        for config in configs:
            known = self.models.get(config.name)
            for version in config.labels.values():
                loaded = known and known.versions.get(version)
                if not self._unavailable_labels and not (loaded and loaded.state == AVAILABLE):
                    raise label_refusal(config.name, version)
        wanted = {config.name: config for config in configs}
        for name, model in self.models.items():
            if name not in wanted:
                model.config = None
                self._aspire(model, name, {})
        for name, config in wanted.items():
            self.models.setdefault(name, ServedModel(config)).config = config

    def poll(self) -> None:
        """Look at every base path; one that can't be read leaves its model as it is."""
        for name, model in list(self.models.items()):
            if model.config is None:
                continue
            try:
                found = version_folders(model.config.base_path)
            except OSError as error:
                say(f"can't look for versions of {name} in {model.config.base_path}: {error.strerror}")
                continue
            if not found and not model.versions:
                say(f"no versions of {name} found in {model.config.base_path}")
            chosen = model.config.choose(sorted(found))
            self._aspire(model, name, {number: found[number] for number in chosen})

    async def settle(self) -> dict[str, Status]:
        """Wait until every model has a version in service or can't have one, and nothing is leaving: why they can't."""
        while True:
            waiting = [name for name, model in self.models.items() if model.config is not None and model.newest is None]
            reasons = {name: reason for name in waiting if (reason := self._given_up(name)) is not None}
            if len(reasons) == len(waiting) and not self._unloads:
                return reasons
            await asyncio.sleep(DRAIN_POLL_S)

    def _given_up(self, name: str) -> Status | None:
        """Why a model without a version won't get one any more."""
        for version in self.models[name].versions.values():
            if version.error is not None and version.task is not None and version.task.done():
                where = f"{{{{{{name: {name} version: {version.number}}} due to error: {version.error}}}, }}"
                return Status("UNKNOWN", f"1 servable(s) did not become available: {where}")
        return None

    def close(self) -> None:
        """Stop loading, and say that everything is about to go; what is loaded answers until the process ends."""
        self._closed = True
        for model in self.models.values():
            for version in model.versions.values():
                if version.task is not None:
                    version.task.cancel()
        self._loaders.shutdown(wait=False, cancel_futures=True)

    # the transitions

    def _aspire(self, model: ServedModel, name: str, wanted: dict[int, Path]) -> None:
        """Move towards serving exactly `wanted`: load first, unload when the newest wanted one is there."""
        model.wanted = wanted
        for number, path in wanted.items():
            version = model.versions.get(number)
            if version is None or (version.state == END and (version.dropped or version.path != path)):
                version = model.versions[number] = Version(number, path)
                version.task = asyncio.ensure_future(self._bring(model, name, version))
        loading = any(model.versions[number].state in (START, LOADING) for number in wanted)
        served = any(model.versions[number].state == AVAILABLE for number in wanted)
        for number, version in model.versions.items():
            if number in wanted:
                continue
            if version.state == AVAILABLE and (served or not wanted) and not loading:
                self._unload(model, name, version)
            elif version.state != AVAILABLE:
                version.dropped = True
                if version.task is not None:
                    version.task.cancel()

    async def _bring(self, model: ServedModel, name: str, version: Version) -> None:
        """Load a version, again and again while it fails, and put it into service."""
        loop = asyncio.get_running_loop()
        for attempt in range(self._retries.count + 1):
            if attempt:
                await asyncio.sleep(self._retries.interval_s)
            version.state = LOADING
            try:
                servable = await loop.run_in_executor(self._loaders, self._load, name, version.number, version.path)
            except asyncio.CancelledError:
                version.state = END
                raise
            except Status as error:
                version.state, version.error = END, error
                say(f"{name} version {version.number} can't be loaded: {error}")
                continue
            version.servable, version.state, version.error = servable, AVAILABLE, None
            self._choose_newest(model)
            say(f"{name} version {version.number} is available")
            self._aspire(model, name, model.wanted)  # what it makes superfluous goes without waiting for the next poll
            return

    def _choose_newest(self, model: ServedModel) -> None:
        available = [version for version in model.versions.values() if version.state == AVAILABLE]
        model.newest = max(available, key=lambda version: version.number, default=None)

    def _unload(self, model: ServedModel, name: str, version: Version) -> None:
        """Take a version out of service at once; close it when what it had taken is answered."""
        version.state, version.dropped = UNLOADING, True
        self._choose_newest(model)
        say(f"{name} version {version.number} is being unloaded")

        async def drain() -> None:
            servable = version.servable
            while servable is not None and servable.busy:
                await asyncio.sleep(DRAIN_POLL_S)
            version.servable = None
            if servable is not None:
                await asyncio.get_running_loop().run_in_executor(self._loaders, servable.close)
            version.state = END

        task = asyncio.ensure_future(drain())
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)


def version_folders(base_path: Path) -> dict[int, Path]:
    """The folders below `base_path` whose names are whole numbers; raises OSError where it can't be read."""
    found = {}
    for path in sorted(base_path.iterdir(), reverse=True):
        if path.name.isascii() and path.name.isdigit() and int(path.name) < 2**63 and path.is_dir():
            found[int(path.name)] = path
    return found


def say(text: str) -> None:
    """One line about what happens, to stderr."""
    print(text, file=sys.stderr, flush=True)
