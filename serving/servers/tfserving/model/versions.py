"""TF Serving's rules for versions over the one model host: labels, which versions to serve, states, how a start fails.

`poll` looks at the base paths and offers the host what lies there; the host loads, swaps and unloads. Unlike in the
genuine server a version that can't be loaded holds up nothing: not other models, not later versions.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from serving.hosting.model_host import ModelHost
from serving.hosting.model_version import Load, Retries, Source, State
from serving.hosting.model_version import Version as HostedVersion
from serving.servers.tfserving.model.model_configs import ModelConfig, label_refusal
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.status import Status, invalid


@dataclass(frozen=True)
class VersionState:
    """What a version's status says."""

    number: int
    state: State
    error: Status | None


class Library:
    """All models that are configured, and their versions."""

    def __init__(
        self, load: Load[Servable], retries: Retries, load_threads: int = 1, unavailable_labels: bool = False
    ) -> None:
        """Load versions by `load`; labels may name versions that aren't served where `unavailable_labels`."""
        self._configs: dict[str, ModelConfig] = {}
        self._host: ModelHost[Servable] = ModelHost(load, retries=retries, load_threads=load_threads, log=log)
        self._unavailable_labels = unavailable_labels
        self._complaints: dict[str, str] = {}

    # what requests ask

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version that a request means; raises Status."""
        if label is not None:
            labels = self._configs[name].labels if name in self._configs else {}
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = labels[label]
        model = self._host.models.get(name)
        hosted = model and (model.newest if version is None else model.versions.get(version))
        if not hosted or hosted.servable is None or hosted.state is not State.AVAILABLE:
            what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Status("NOT_FOUND", f"Servable not found for request: {what}")
        return hosted.servable

    def states(self, name: str, version: int | None = None) -> list[VersionState]:
        """The versions of a model, newest first, or the one asked for; raises Status."""
        versions = self._versions(name)
        if version is not None and version not in versions:
            raise Status("NOT_FOUND", f"Could not find version {version} of model {name}")
        if not versions:
            raise Status("NOT_FOUND", f"Could not find any versions of model {name}")
        numbers = sorted(versions, reverse=True) if version is None else [version]
        return [self._state(versions[number]) for number in numbers]

    def _versions(self, name: str) -> dict[int, HostedVersion[Servable]]:
        model = self._host.models.get(name)
        return model.versions if model else {}

    def _state(self, version: HostedVersion[Servable]) -> VersionState:
        leaves = self._host.is_closed and version.state is State.AVAILABLE  # not ready, while what comes is answered
        return VersionState(version.number, State.UNLOADING if leaves else version.state, as_status(version.error))

    # what configuration and the file system ask

    def configure(self, configs: list[ModelConfig]) -> None:
        """Serve these models from now on, unload all others; raises Status for a label of a version not loaded."""
        for config in configs:
            for number in config.labels.values():
                version = self._versions(config.name).get(number)
                if not self._unavailable_labels and not (version and version.state is State.AVAILABLE):
                    raise label_refusal(config.name, number)
        left_out = self._configs.keys() - {config.name for config in configs}
        for name in left_out:
            self._host.offer(name, self._configs.pop(name), {})
        self._configs.update({config.name: config for config in configs})

    def poll(self) -> None:
        """Look at every base path; one that can't be read leaves its model as it is, and is said once."""
        for name, config in list(self._configs.items()):
            try:
                folders = version_folders(config.base_path)
            except OSError as error:
                self._complain(name, f"can't look for versions of {name} in {config.base_path}: {error.strerror}")
                continue
            if folders or self._versions(name):
                self._complaints.pop(name, None)
            else:
                self._complain(name, f"no versions of {name} found in {config.base_path}")
            self._host.offer(name, config, {number: Source(folder) for number, folder in folders.items()})

    def _complain(self, name: str, text: str) -> None:
        if self._complaints.get(name) != text:
            self._complaints[name] = text
            log(text)

    async def settle(self) -> dict[str, Status]:
        """Wait until every model has a version in service or can't have one, and nothing is leaving: why they can't."""

        def is_settled() -> bool:
            return not self._host.is_retiring and all(map(self._why_not, self._without_version()))

        await self._host.wait_until(is_settled)
        reasons = {name: self._why_not(name) for name in self._without_version()}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def _without_version(self) -> list[str]:
        models = self._host.models
        return [name for name in self._configs if name not in models or models[name].newest is None]

    def _why_not(self, name: str) -> Status | None:
        """Why a model without a version won't get one any more."""
        for version in self._versions(name).values():
            if version.error is not None and version.task is not None and version.task.done():
                reason = (
                    f"{{{{{{name: {name} version: {version.number}}} due to error: {as_status(version.error)}}}, }}"
                )
                return Status("UNKNOWN", f"1 servable(s) did not become available: {reason}")
        return None

    def close(self) -> None:
        """Stop loading, and say that everything is about to go; what is loaded answers until the process ends."""
        self._host.close()


def as_status(error: Exception | None) -> Status | None:
    """Why a version can't be loaded."""
    if error is None or isinstance(error, Status):
        return error
    return Status("UNKNOWN", f"{type(error).__name__}: {error}")


def version_folders(base_path: Path) -> dict[int, Path]:
    """The folders below `base_path` whose names are whole numbers; raises OSError where it can't be read."""
    return {int(path.name): path for path in sorted(base_path.iterdir(), reverse=True) if _is_version(path)}


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit() and int(path.name) < 2**63 and path.is_dir()


def log(text: str) -> None:
    """One line about what happens, to stderr."""
    print(text, file=sys.stderr, flush=True)
