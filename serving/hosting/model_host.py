"""The models that a server of our own hosts: found in the model repository, warmed up, swapped without a lost request.

Reads `<repository>/<artifact>/manifest.json` and `<version>/`; the newest versions are served. A new one is loaded
beside the old one and takes its place when it is warm; one that can't be loaded is refused, reported in the index, and
tried again when its files change, while the old one serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract import Manifest, StageError, TensorSpec
from export.format import LoadedModel, find_format
from serving.hosting.batcher import Batcher
from serving.hosting.metrics import Metrics, ModelMetrics
from serving.hosting.signature import Refusal, Signature, to_refusal
from serving.hosting.worker_sync import Control

LONG_RUN_S = 0.010
"""A full batch that takes longer runs in a thread of its own, or health checks would wait for it."""
Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, time and size of each file of a version."""
Found = tuple[str, dict[str, Fingerprint]]
"""The format of an artifact, and its versions."""


@dataclass(frozen=True)
class HostSettings:
    """How models are hosted."""

    threads: int = 1
    max_batch_size: int = 32
    max_queue_delay_us: int = 0
    max_queue_size: int = 1024
    versions: int = 1
    """How many of the newest versions are served; 0 serves all."""
    run_in: str = "auto"
    """`loop`, `thread`, or `auto`: a thread where a full batch takes longer than LONG_RUN_S."""


@dataclass(frozen=True)
class Hosted:
    """One version of one model, warm and ready."""

    name: str
    version: str
    format: str
    signature: Signature
    batcher: Batcher
    metrics: ModelMetrics
    fingerprint: Fingerprint


class Models:
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
        self.settings = settings
        self._formats = formats
        self._artifacts = artifacts
        self._metrics = metrics
        self._control = Control(control)
        self._served: dict[str, dict[str, Hosted]] = {}
        self._routes: dict[tuple[str, str | None], Hosted] = {}
        self._refused: dict[tuple[str, str], tuple[Fingerprint, str]] = {}
        self._unloaded: set[str] = set()
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self.ready = False
        """Whether everything that was found has been loaded once, and the server isn't shutting down."""

    def find(self, name: str, version: str | None) -> Hosted:
        """The version asked for, or the newest; raises Refusal (404)."""
        hosted = self._routes.get((name, version))
        if hosted is None:
            if name in self._served:
                have = ", ".join(self.versions(name))
                raise Refusal(404, f"model {name!r} has no version {version!r}: versions {have} are ready")
            ready = ", ".join(sorted(self._served)) or "none"
            raise Refusal(404, f"unknown model {name!r}: these are ready: {ready}")
        return hosted

    def is_served(self, hosted: Hosted) -> bool:
        """Whether requests without a version still go there."""
        return self._routes.get((hosted.name, None)) is hosted

    def versions(self, name: str) -> list[str]:
        """The versions of a model that are ready, oldest first."""
        return sorted(self._served.get(name, {}), key=int)

    def index(self) -> list[dict[str, str]]:
        """Every model and version, its state and, where it isn't ready, why: the repository extension's index."""
        rows = [
            {"name": name, "version": version, "state": "READY", "reason": ""}
            for name in sorted(self._served)
            for version in self.versions(name)
        ]
        rows += [
            {"name": name, "version": version, "state": "UNAVAILABLE", "reason": reason}
            for (name, version), (_, reason) in sorted(self._refused.items())
        ]
        rows += [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
            for name in sorted(self._unloaded)
        ]
        return rows

    # changes

    async def poll(self) -> None:
        """Compare the repository with what is served, and load and unload what differs."""
        async with self._lock:
            again: set[str] = set()
            for name, change in self._control.news():
                if change == "unload":
                    self._unloaded.add(name)
                    self._publish(name, {})
                else:
                    self._unloaded.discard(name)
                    again.add(name)
            for name, found in (await self._scan()).items():
                if name not in self._unloaded:
                    await self._update(name, *found, again=name in again)

    async def load(self, name: str) -> None:
        """Load a model, or load it again; raises Refusal where it isn't there (404) or can't be loaded (400)."""
        async with self._lock:
            found = (await self._scan()).get(name)
            if found is None:
                raise Refusal(404, f"unknown model {name!r}: the repository has no such model for this server")
            self._unloaded.discard(name)
            self._refused = {key: why for key, why in self._refused.items() if key[0] != name}
            await self._update(name, *found, again=True)
            self._control.announce(name, "load")
            reasons = [f"version {v}: {why}" for (n, v), (_, why) in self._refused.items() if n == name]
            if reasons:
                raise Refusal(400, f"model {name!r} could not be loaded: {'; '.join(reasons)}")

    async def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded by name; raises Refusal (404) where it isn't served."""
        async with self._lock:
            if name not in self._served:
                raise Refusal(404, f"unknown model {name!r}: it is not loaded")
            self._unloaded.add(name)
            self._publish(name, {})
            self._control.announce(name, "unload")

    async def _scan(self) -> dict[str, Found]:
        found, broken = await asyncio.to_thread(_scan, self.repository, self._formats, self._artifacts)
        self._refused = {key: why for key, why in self._refused.items() if key[1]}
        self._refused |= {(name, ""): ((), why) for name, why in broken.items()}
        return found

    async def _update(self, name: str, format_name: str, found: dict[str, Fingerprint], again: bool = False) -> None:
        """Serve the newest loadable versions of `found` in place of what is served now."""
        served = self._served.get(name, {})
        wanted = self.settings.versions or len(found)
        kept: dict[str, Hosted] = {}
        for version in sorted(found, key=int, reverse=True):
            if len(kept) == wanted:
                break
            hosted = served.get(version)
            if hosted is None or again or hosted.fingerprint != found[version]:
                hosted = await self._load(name, format_name, version, found[version]) or hosted
            if hosted is not None:
                kept[version] = hosted
        self._refused = {
            (n, v): why for (n, v), why in self._refused.items() if n != name or (v in found and v not in kept)
        }
        if kept != served:
            self._publish(name, kept)

    async def _load(self, name: str, format_name: str, version: str, fingerprint: Fingerprint) -> Hosted | None:
        """A version loaded and warmed up, or None where that fails; what failed before isn't tried again unchanged."""
        if self._refused.get((name, version), (None,))[0] == fingerprint:
            return None
        folder = self.repository / name
        try:
            loaded, run_s = await asyncio.to_thread(
                _load_warm, folder, format_name, version, self.settings.threads, self.settings.max_batch_size
            )
        except Exception as error:  # whatever a runtime raises on a bad file
            self._refused[(name, version)] = (fingerprint, f"{type(error).__name__}: {error}"[:500])
            return None
        signature = Signature(loaded.inputs, loaded.outputs)
        metrics = self._metrics.model(name, version)
        batcher = Batcher(
            loaded.run,
            max_batch_size=self.settings.max_batch_size if signature.batches else 1,
            max_queue_delay_us=self.settings.max_queue_delay_us,
            max_queue_size=self.settings.max_queue_size,
            in_thread=self.settings.run_in == "thread" or (self.settings.run_in == "auto" and run_s > LONG_RUN_S),
            observe=metrics.observe_run,
            on_failure=lambda error: metrics.count(to_refusal(error).status),
        )
        return Hosted(name, version, format_name, signature, batcher, metrics, fingerprint)

    def _publish(self, name: str, kept: dict[str, Hosted]) -> None:
        """Serve exactly `kept` from the next request on; what is in flight elsewhere is still answered."""
        old = self._served.pop(name, {})
        routes = {key: hosted for key, hosted in self._routes.items() if key[0] != name}
        if kept:
            self._served[name] = kept
            routes |= {(name, version): hosted for version, hosted in kept.items()}
            routes[(name, None)] = routes[(name, "")] = kept[max(kept, key=int)]
        self._routes = routes
        for hosted in old.values():
            if hosted not in kept.values():
                task = asyncio.ensure_future(_retire(hosted.batcher))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)


async def _retire(batcher: Batcher) -> None:
    """Close a batcher once it has answered everything that it was given."""
    await asyncio.sleep(0)  # a request that has just found it may not have submitted yet
    while batcher.busy:
        await asyncio.sleep(0.01)
    batcher.close()


def _scan(
    repository: Path, formats: Collection[str], artifacts: Collection[str]
) -> tuple[dict[str, Found], dict[str, str]]:
    """Every complete artifact in one of the formats, and what is wrong with each unreadable manifest."""
    found: dict[str, Found] = {}
    broken: dict[str, str] = {}
    for path in repository.glob("*/manifest.json"):
        name = path.parent.name
        if artifacts and name not in artifacts:
            continue
        try:
            manifest = Manifest.read(path.parent, "make export")
        except StageError as error:
            broken[name] = str(error)
            continue
        if manifest.format in formats:
            folders = (f for f in path.parent.iterdir() if f.name.isdecimal() and f.is_dir())
            found[name] = (manifest.format, {f.name: _fingerprint(f) for f in folders})
    return found, broken


def _fingerprint(folder: Path) -> Fingerprint:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(p.relative_to(folder)), (stat := p.stat()).st_mtime_ns, stat.st_size) for p in files)


def _load_warm(folder: Path, format_name: str, version: str, threads: int, rows: int) -> tuple[LoadedModel, float]:
    """Load a version and run it until it is warm; also the seconds that a full batch takes."""
    manifest = Manifest.read(folder, "make export")
    listed = {name: sha for name, sha in manifest.sha256.items() if name.startswith(f"{version}/")}
    Manifest(**{**vars(manifest), "sha256": listed}).check_files(folder, "make export")
    loaded = find_format(format_name).load(folder / version, threads)
    if any(-1 in spec.shape[1:] for spec in loaded.inputs):
        return loaded, 0.0  # nobody knows which shapes it can take
    batches = Signature(loaded.inputs, loaded.outputs).batches
    took_s = []
    for size in (1, rows, rows, rows, rows) if batches else (1, 1, 1):
        blank = {spec.name: _blank(spec, size) for spec in loaded.inputs}
        began_s = time.perf_counter()
        loaded.run(blank)
        took_s.append(time.perf_counter() - began_s)
    return loaded, min(took_s[1:])  # the least disturbed


def _blank(spec: TensorSpec, rows: int) -> np.ndarray:
    filler: Any = b"" if spec.datatype == "BYTES" else 0
    return np.full([rows if dim == -1 else dim for dim in spec.shape], filler, spec.dtype)
