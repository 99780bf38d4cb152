"""The models of a repository in service: the newest versions of each artifact, found again at every look.

Reads `<repository>/<artifact>/manifest.json` and `<version>/`. The mechanism is `model_host.ModelHost`; here are the
policy, the routes of requests, and what the model repository extension of the Open Inference Protocol asks for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from serving.hosting.errors import RequestError
from serving.hosting.metrics import Metrics
from serving.hosting.model_host import ModelHost
from serving.hosting.model_version import HostedModel, State, Version
from serving.hosting.repository_scan import Look, scan
from serving.hosting.served_model import HostSettings, ServedModel, load_served
from serving.hosting.worker_sync import Control

INDEX_STATES = {
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.END: "UNAVAILABLE",
}
REASON_CHARACTERS = 500


@dataclass(frozen=True)
class NewestVersions:
    """Serve the newest versions that can be loaded."""

    count: int = 1
    """0 serves all."""

    def choose(self, versions: Collection[int], failed: Collection[int]) -> set[int]:
        """The newest `count` of those that did not fail."""
        loadable = sorted(set(versions) - set(failed), reverse=True)
        return set(loadable[: self.count or None])


class ModelRepository:
    """What is served now; all methods belong to the event loop's thread."""

    def __init__(
        self,
        repository: Path,
        formats: Collection[str],
        settings: HostSettings,
        metrics: Metrics,
        artifacts: Collection[str] = (),
        control: Path | None = None,
    ) -> None:
        """Host `artifacts` of `repository`, or all in one of `formats`; other workers share the folder `control`."""
        self.repository = repository
        self.ready = False
        """Whether everything that was found has been loaded once, and the server isn't shutting down."""
        self._formats = formats
        self._artifacts = artifacts
        self._control = Control(control)
        self._policy = NewestVersions(settings.versions)
        load = partial(load_served, settings=settings, metrics=metrics)
        self._host: ModelHost[ServedModel] = ModelHost(load, on_change=self._route, log=self._log)
        self._routes: dict[tuple[str, str | None], ServedModel] = {}
        self._problems: dict[str, str] = {}
        self._unloaded: set[str] = set()
        self._missing: set[str] = set()
        self._loads: dict[str, int] = {}
        self._lock = asyncio.Lock()

    # what requests ask

    def find(self, name: str, version: str | None) -> ServedModel:
        """The version asked for, or the newest; raises RequestError (404)."""
        served = self._routes.get((name, version))
        if served is None:
            if versions := self.versions(name):
                have = ", ".join(versions)
                raise RequestError(404, f"model {name!r} has no version {version!r}: versions {have} are ready")
            ready = ", ".join(sorted(name for name, model in self._host.models.items() if model.newest)) or "none"
            raise RequestError(404, f"unknown model {name!r}: these are ready: {ready}")
        return served

    def is_served(self, served: ServedModel) -> bool:
        """Whether requests without a version still go there."""
        return self._routes.get((served.name, None)) is served

    def versions(self, name: str) -> list[str]:
        """The versions of a model that are ready, oldest first."""
        model = self._host.models.get(name)
        return [str(number) for number in model.available] if model else []

    def index(self) -> list[dict[str, str]]:
        """Every model and version, its state and, where something is wrong, what: the repository extension's index."""
        rows = []
        for name, model in sorted(self._host.models.items()):
            for number, version in sorted(model.versions.items()):
                if not version.dropped:
                    state, reason = INDEX_STATES[version.state], _reason(version)
                    rows.append({"name": name, "version": str(number), "state": state, "reason": reason})
        without = sorted({*self._problems, *self._unloaded} - {"", *(row["name"] for row in rows)})
        for name in without:
            reason = "unloaded" if name in self._unloaded else self._problems[name]
            rows.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason})
        return rows

    # changes

    async def poll(self) -> None:
        """Compare the repository with what is served, and begin to load and unload what differs."""
        async with self._lock:
            for name, change in self._control.news():
                self._unloaded.add(name) if change == "unload" else self._unloaded.discard(name)
                self._loads[name] = self._loads.get(name, 0) + 1
            self._offer(await self._look())

    async def settle(self) -> None:
        """Wait until everything that was offered is in service or can't be."""
        await self._host.wait_until(lambda: not any(model.is_pending for model in self._host.models.values()))

    async def load(self, name: str) -> None:
        """Load a model, or load it again; raises RequestError where it isn't there (404) or can't be loaded (400)."""
        async with self._lock:
            look = await self._look()
            if name not in look.artifacts:
                why = look.problems.get(name, "the repository has no such model for this server")
                raise RequestError(404, f"unknown model {name!r}: {why}")
            self._unloaded.discard(name)
            self._loads[name] = self._loads.get(name, 0) + 1
            self._offer(look)
        model = self._host.models[name]
        await self._host.wait_until(lambda: not model.is_pending)
        self._control.announce(name, "load")
        reasons = [f"version {number}: {_reason(v)}" for number, v in sorted(model.versions.items()) if _reason(v)]
        if reasons:
            raise RequestError(400, f"model {name!r} could not be loaded: {'; '.join(reasons)}")

    async def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded by name; raises RequestError (404) where it isn't served."""
        async with self._lock:
            if not self.versions(name):
                raise RequestError(404, f"unknown model {name!r}: it is not loaded")
            self._unloaded.add(name)
            self._host.offer(name, self._policy, {})
            self._control.announce(name, "unload")

    async def _look(self) -> Look:
        look = await asyncio.to_thread(scan, self.repository, self._formats, self._artifacts)
        for name, problem in look.problems.items():
            if self._problems.get(name) != problem:
                self._log(f"{name or 'the repository'} stays as it is: {problem}")
        self._problems = look.problems
        return look

    def _offer(self, look: Look) -> None:
        """Serve what the look found; what could not be read stays as it is."""
        for name, artifact in look.artifacts.items():
            if name not in self._unloaded:
                loads = self._loads.get(name, 0)
                versions = {n: replace(s, fingerprint=(s.fingerprint, loads)) for n, s in artifact.versions.items()}
                self._host.offer(name, self._policy, versions)
        for name in self._unloaded:
            if name in self._host.models:
                self._host.offer(name, self._policy, {})
        if "" not in look.problems:
            self._withdraw({name for name in self._host.models if name not in {**look.artifacts, **look.problems}})

    def _withdraw(self, missing: set[str]) -> None:
        """Unload what two looks in a row did not find: a replacement in two steps makes it missing for a moment."""
        for name in missing & self._missing:
            self._host.offer(name, self._policy, {})
        self._missing = missing

    def _route(self, model: HostedModel[ServedModel]) -> None:
        """Send requests to exactly the versions in service from the next one on."""
        routes = {key: served for key, served in self._routes.items() if key[0] != model.name}
        routes |= {(model.name, served.version): served for served in model.available.values()}
        if model.newest is not None and model.newest.servable is not None:
            routes[(model.name, None)] = routes[(model.name, "")] = model.newest.servable
        self._routes = routes

    def _log(self, text: str) -> None:
        if self.ready:  # what goes wrong at the start is told by the program, in one piece
            print(text, file=sys.stderr, flush=True)


def _reason(version: Version[ServedModel]) -> str:
    if version.error is None:
        return ""
    return f"{type(version.error).__name__}: {version.error}"[:REASON_CHARACTERS]
