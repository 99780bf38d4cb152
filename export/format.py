"""The `Format` interface: how a trained model becomes a file, and how that file runs in process.

A format is one file, `export/formats/<name>.py`, with one class `<anything>(Format)` in a constant `FORMAT`. Its
`from_<framework>` methods say what it can convert. Servers use `load`, so importing a format imports no framework.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from contract import FRAMEWORKS, StageError, Tensors, TensorSpec

FORMATS = Path(__file__).parent / "formats"


@dataclass(frozen=True)
class LoadedModel:
    """An artifact ready to run in this process: its signature, and `run`, a function from inputs to all outputs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    run: Callable[[Tensors], dict[str, np.ndarray]]
    stateful: str = ""
    """Why a run may change later answers; "" where it can't. Such a model is run on samples and requests alone."""


class Format(ABC):
    """One way to write a model to disk."""

    extras: ClassVar[dict[str, tuple[str, str]]] = {}
    """Per framework: the module that the conversion needs beyond the base install, and the extra that brings it."""

    remedies: ClassVar[dict[str, str]] = {}
    """Per framework: the commands that bring the extra and make the artifact."""

    packages: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Per framework: the distributions whose versions decide what the conversion writes."""

    @abstractmethod
    def load(self, version_folder: Path, threads: int = 1) -> LoadedModel:
        """Load `model_repository/<artifact>/<version>/` with `threads` intra-op threads.

        Raises StageError with the file's name where the file is missing or no such model.
        """

    def serving_fault(self, version_folder: Path, request: Tensors) -> str:
        """Why servers, which may load the model in another way, can't answer this request; "" where they can."""
        return ""

    @classmethod
    def frameworks(cls) -> tuple[str, ...]:
        """The frameworks whose models this format can be made from."""
        return tuple(name for name in FRAMEWORKS if hasattr(cls, f"from_{name}"))

    def convert(self, framework: str, model_folder: Path, version_folder: Path) -> None:
        """Write `framework`'s trained model in `model_folder` as files in the empty folder `version_folder`."""
        getattr(self, f"from_{framework}")(model_folder, version_folder)

    def missing_extra(self, framework: str) -> str | None:
        """The extra to install before `framework` can be converted, or None where all is there."""
        module, extra = self.extras.get(framework, ("", ""))
        return extra if module and importlib.util.find_spec(module) is None else None


def list_formats() -> list[str]:
    """The names of all formats: the files of `export/formats/`."""
    return sorted(path.stem for path in FORMATS.glob("*.py") if not path.stem.startswith("_"))


def find_format(name: str) -> Format:
    """The format called `name`."""
    if name not in list_formats():
        raise StageError(f"no format {name!r}: choose from {', '.join(list_formats())}")
    found: Format = importlib.import_module(f"export.formats.{name}").FORMAT
    return found


def list_artifacts() -> list[str]:
    """Every valid pair of framework and format, as `<framework>-<format>`."""
    pairs = ((framework, name) for framework in FRAMEWORKS for name in list_formats())
    return [f"{framework}-{name}" for framework, name in pairs if framework in find_format(name).frameworks()]
