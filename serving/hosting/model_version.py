"""The values of the model host: a version, its state and source, and what policies and loaders have to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, Protocol, TypeVar


class State(StrEnum):
    """The life of a version, in the words of TF Serving's `ModelVersionStatus`."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class Source:
    """One version as it lies on the disk; other files are another source."""

    folder: Path
    fingerprint: object = None
    """Equal as long as the files are the same; None where a change of files is no reason to load again."""


class Servable(Protocol):
    """A version that is loaded: what a `Load` returns."""

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""

    def close(self) -> None:
        """Free its memory and threads; nothing may run any more."""


ServableT = TypeVar("ServableT", bound=Servable)
Load = Callable[[str, int, Path], ServableT]
"""Load and warm up a version, by the model's name, its number and its folder; called in a thread, may raise."""


class VersionPolicy(Protocol):
    """Which versions of a model are to be in service."""

    def choose(self, versions: Collection[int], failed: Collection[int]) -> set[int]:
        """Choose among the versions on the disk; those in `failed` could not be loaded from these files."""


@dataclass(frozen=True)
class Retries:
    """How often, and how long after each other, a version that failed is tried again though its files are the same."""

    count: int = 0
    interval_s: float = 60.0


@dataclass(eq=False)
class Version(Generic[ServableT]):
    """One version of one model, ever seen."""

    number: int
    source: Source
    state: State = State.START
    error: Exception | None = None
    """Why it could not be loaded, or what its newer files could not be loaded for while it serves."""
    servable: ServableT | None = None
    task: asyncio.Task[None] | None = None
    """Loads it, and tries again."""
    replacement: Version[ServableT] | None = None
    """The same version from newer files, while it is loaded; it stays here if it can't be."""
    dropped: bool = False
    """Not wanted any more: should it be wanted again, it is loaded anew."""

    @property
    def is_pending(self) -> bool:
        """Whether a try to load it is still to come or under way."""
        return self.state in (State.START, State.LOADING)

    def is_worth_loading(self, source: Source) -> bool:
        """Whether an ended version is to be loaded from `source`: nobody wanted it any more, or it has other files."""
        return self.state is State.END and (self.dropped or self.source != source)

    def has_failed(self, source: Source | None) -> bool:
        """Whether it isn't in service and could not be loaded from `source`, though it may be being tried again."""
        is_out = self.state is not State.AVAILABLE and not self.dropped
        return is_out and self.error is not None and self.source == source


@dataclass(eq=False)
class HostedModel(Generic[ServableT]):
    """One model, ever offered."""

    name: str
    policy: VersionPolicy
    sources: Mapping[int, Source] = field(default_factory=dict)
    """What the last look found on the disk."""
    versions: dict[int, Version[ServableT]] = field(default_factory=dict)
    newest: Version[ServableT] | None = None
    """The newest AVAILABLE version: what requests without a version get."""

    @property
    def available(self) -> dict[int, ServableT]:
        """The versions in service, oldest first."""
        return {n: v.servable for n, v in sorted(self.versions.items()) if v.state is State.AVAILABLE and v.servable}

    @property
    def is_pending(self) -> bool:
        """Whether a version is being loaded for the first time, or from newer files."""
        both = [*self.versions.values(), *(v.replacement for v in self.versions.values() if v.replacement is not None)]
        return any(version.is_pending for version in both)
