"""What the stages agree on: words, folders, the manifest and the one error.

Reads and writes `manifest.json` files. Every stage imports this module; it imports no stage.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent
ARTIFACTS = Path(os.environ.get("ARTIFACTS_DIR", ROOT / "artifacts"))
DATA = ARTIFACTS / "data"
TWINS = "mnist"
MODEL = os.environ.get("MODEL") or TWINS
"""The model that a command is about: a name, or the path of a model definition or file."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def workspace_name(model: str) -> str:
    """The name of a model's workspace: the name itself, or the last part of a path without its suffix."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(model).stem.lower()).strip("-")
    return model if NAME.fullmatch(model) else name or TWINS


def workspace_of(model: str) -> Path:
    """The folder of everything that is made for one model, the same layout for all."""
    return ARTIFACTS / workspace_name(model)


WORKSPACE = workspace_of(MODEL)
MODELS = WORKSPACE / "models"
MODEL_REPOSITORY = Path(os.environ.get("MODEL_REPOSITORY", WORKSPACE / "model_repository"))
MODEL_STORE = WORKSPACE / "model_store"
RESULTS = WORKSPACE / "results"
REPORT = WORKSPACE / "report"
EXPORT_FIRST = (
    "run `make export`"
    if MODEL == TWINS
    else f"run `python -m export import MODEL_FILE --name {WORKSPACE.name} --samples SAMPLES.npz`"
)
"""How this model's artifacts come to be, for messages."""
ENDPOINTS = WORKSPACE / "endpoints.json"
"""What is running, as `python -m serving up` writes it."""

FRAMEWORKS = ("tensorflow", "pytorch")

# Open Inference Protocol v2 datatypes; BYTES elements are Python `bytes` in an object array.
# https://github.com/kserve/open-inference-protocol, "Tensor Data Types"
DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
DATATYPE_OF: dict[np.dtype[Any], str] = {dtype: name for name, dtype in DATATYPES.items()}

Tensors = Mapping[str, np.ndarray]
"""Named tensors: `{tensor name: array}`, the batch in the first dimension."""


class StageError(Exception):
    """A mistake that its message explains: what is wrong, the value, the command that mends it.

    A command line prints the message without a traceback and exits 2.
    """


@dataclass(frozen=True)
class TensorSpec:
    """Name, datatype (Open Inference Protocol) and shape of one tensor; -1 marks a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dimensions: tuple[str, ...] = field(default=(), compare=False)
    """The model's own names of the dimensions, "" for one without a name; empty where the format keeps no names."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TensorSpec:
        """Read one tensor of a manifest or a signature file; raises KeyError or TypeError where it is none."""
        return cls(fields["name"], fields["datatype"], tuple(fields["shape"]), tuple(fields.get("dimensions", ())))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the elements."""
        return DATATYPES[self.datatype]


PROVEN_ROWS = 32
"""So many rows the largest batch has with which the export tries whether rows are independent."""


@dataclass(frozen=True)
class Batching:
    """Whether the rows of different requests may share a run: a property of the model that shapes alone can't show."""

    verdict: str = "unknown"
    """`proven` by the export with real samples, `refused` by it, `declared` by the user, `unknown`."""
    reason: str = "the manifest does not say that rows are independent"
    most_rows: int = PROVEN_ROWS
    """The largest batch that the proof ran: a larger one was not seen."""

    @property
    def may_join(self) -> bool:
        """Whether a server may join requests; where it may not, it runs them one by one."""
        return self.verdict in ("proven", "declared")

    def rows_of(self, wanted: int) -> int:
        """So many of the `wanted` rows a server may join: no more than were proven, all on the user's word."""
        if not self.may_join:
            return 1
        return wanted if self.verdict == "declared" else min(wanted, self.most_rows)


@dataclass(frozen=True)
class Tolerance:
    """How far an output's numbers may lie from the expected ones; all else has to be equal."""

    absolute: float = 1e-4
    relative: float = 0.0
    """As a share of `scale`."""
    scale: float = 0.0
    """The largest finite magnitude among the output's expected values."""

    @property
    def allowed(self) -> float:
        """The largest difference of a right answer."""
        return self.absolute + self.relative * self.scale


@dataclass(frozen=True)
class Manifest:
    """The JSON beside a trained model or an artifact. It is written last: there is one only if all else is there."""

    name: str
    framework: str
    format: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: dict[str, str]
    """Each file below the manifest's folder, by relative path."""
    size_bytes: int
    test_accuracy: float | None = None
    """Share of right labels on the test set, 0…1; None for a model brought without labels."""
    batching: Batching = field(default_factory=Batching)
    tolerances: dict[str, Tolerance] = field(default_factory=dict)
    """What servers are held to, per output; `tolerance_of` has the default for one that is not listed."""
    parity: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that made it."""

    @classmethod
    def read(cls, folder: Path, remedy: str) -> Manifest:
        """Read `folder/manifest.json`; `remedy` is the command that makes one, for the message if there is none."""
        path = folder / "manifest.json"
        if path.is_fifo() or path.is_char_device():
            raise StageError(f"{shown(path)} is a pipe or a device, which a reader may wait for without end: delete it")
        try:
            fields = json.loads(path.read_text())
            for key in ("inputs", "outputs"):
                fields[key] = tuple(TensorSpec.from_json(tensor) for tensor in fields[key])
            fields["batching"] = Batching(**fields.get("batching", {}))  # older manifests have neither of these
            fields["tolerances"] = {name: Tolerance(**t) for name, t in fields.get("tolerances", {}).items()}
            return cls(**fields)
        except FileNotFoundError:
            raise StageError(f"no {shown(path)}: run `{remedy}`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StageError(f"{shown(path)} is not a manifest ({error}): delete it and run `{remedy}`") from None

    def tolerance_of(self, output: str) -> Tolerance:
        """What an answer's tensor `output` is held to."""
        return self.tolerances.get(output, Tolerance())

    def write(self, folder: Path) -> None:
        """Write `folder/manifest.json` so that a reader sees all of it or nothing."""
        write_whole(folder / "manifest.json", to_json(asdict(self)).encode())

    def check_files(self, folder: Path, remedy: str) -> None:
        """Raise StageError unless every file is there with the sha256 the manifest gives."""
        for name, expected in self.sha256.items():
            path = folder / name
            if not path.is_file():
                raise StageError(f"{shown(path)} is missing though the manifest lists it: run `{remedy}`")
            if (sha256 := sha256_of(path)) != expected:
                raise StageError(
                    f"{shown(path)} has sha256 {sha256[:12]}…, its manifest says {expected[:12]}…: run `{remedy}`"
                )


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` by relative path, the manifest itself left out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {str(p.relative_to(folder)): sha256_of(p) for p in paths}


def size_below(folder: Path) -> int:
    """Bytes of all files below `folder`, the manifest left out."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically: a full disk or a kill leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise StageError(
            f"could not write {shown(path)}: {error.strerror}: free some space and run the command again"
        ) from error


def to_json(value: Any) -> str:
    """JSON as every file of the project has it: sorted keys, two blanks, a final newline."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def shown(path: Path) -> str:
    """`path` as a user types it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
