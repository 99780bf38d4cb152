"""Looks at a model repository: which artifacts and versions lie in it now, and what can't be read.

Reads `<repository>/<artifact>/manifest.json` and the names, times and sizes of the files below `<version>/`. Nothing
that a file system can do makes a look fail: what can't be read is a problem in the result.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from contract import Manifest, StageError
from serving.hosting.model_version import Source

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Path, time of the last change, size and mode of each file."""


@dataclass(frozen=True)
class Artifact:
    """One artifact of the repository."""

    manifest: Manifest
    versions: dict[int, Source]


@dataclass(frozen=True)
class Look:
    """What one look at the repository found."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Artifacts that are there but can't be read, and why; "" is the repository itself."""


def scan(repository: Path, formats: Collection[str], artifacts: Collection[str] = ()) -> Look:
    """Look for artifacts in one of the formats; only for those in `artifacts` where there are any."""
    look = Look()
    try:
        folders = sorted(path for path in repository.iterdir() if not path.name.startswith("."))
    except OSError as error:
        look.problems[""] = f"can't read {repository}: {error.strerror}"
        return look
    for folder in folders:
        if artifacts and folder.name not in artifacts:
            continue
        try:
            artifact = _read(folder, formats)
        except (StageError, RecursionError) as error:  # the latter of a manifest that nests without end
            look.problems[folder.name] = str(error)
        except OSError as error:
            look.problems[folder.name] = f"can't read {error.filename or folder}: {error.strerror}"
        else:
            if artifact is not None:
                look.artifacts[folder.name] = artifact
    return look


def _read(folder: Path, formats: Collection[str]) -> Artifact | None:
    """The artifact in a folder; None where there is none in one of the formats."""
    try:
        (folder / "manifest.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    manifest = Manifest.read(folder, "make export")
    if manifest.format not in formats:
        return None
    versions = (path for path in sorted(folder.iterdir(), reverse=True) if _is_version(path))
    return Artifact(manifest, {int(path.name): Source(path, _fingerprint(path)) for path in versions})


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal() and int(path.name) < 2**63 and path.is_dir()


def _fingerprint(folder: Path) -> Fingerprint:
    """The state of the files below a folder; one that vanishes meanwhile is as one that was never there."""
    entries = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            entries.append((str(path.relative_to(folder)), status.st_mtime_ns, status.st_size, status.st_mode))
    return tuple(entries)
