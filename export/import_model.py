"""Take in a model that a user brings: a file of some format and a `samples.npz` with the answers to expect of it.

The samples have `inputs/<tensor>` and `expected/<tensor>`, the samples in the first dimension, and `labels` if known.
Writes the version folder and the manifest as the export does, once the model reproduces the answers.

    python -m export adopt my_model.onnx --name my-onnx --samples samples.npz [--repository DIR]
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contract import DATATYPE_OF, MODEL_REPOSITORY, Manifest, StageError, TensorSpec, files_below, shown, size_below
from export.batching import prove_batching
from export.convert import VERSION, GateError
from export.format import LoadedModel, find_format, list_artifacts
from export.formats.torchscript import write_signature
from export.parity import Parity, compare, tolerances_of
from export.samples import add_samples

# The format of a file by its suffix, and the name that the version folder gives it; a folder is a SavedModel.
FILES = {".onnx": ("onnx", "model.onnx"), ".tflite": ("tflite", "model.tflite"), ".pt": ("torchscript", "model.pt")}
TOLERANCE = 1e-4
"""As servers are held to; the answers may come from another machine."""


@dataclass(frozen=True)
class Brought:
    """The samples that come with a model."""

    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    labels: np.ndarray | None


def main(argv: list[str]) -> int:
    """Run the command line after the word `adopt`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export adopt", description=__doc__)
    parser.add_argument("model", type=Path, help=".onnx, .tflite or TorchScript .pt, or the folder of a SavedModel")
    parser.add_argument("--name", required=True, help="what the artifact shall be called, e.g. my-onnx")
    parser.add_argument("--samples", type=Path, required=True, help=".npz: inputs/<tensor>, expected/<tensor>, labels")
    parser.add_argument("--framework", default="custom", help="who trained it, for the record; default: %(default)s")
    parser.add_argument("--repository", type=Path, default=MODEL_REPOSITORY, help="default: %(default)s")
    given = parser.parse_args(argv)
    try:
        manifest = adopt(given.model, given.name, given.samples, given.framework, given.repository)
    except GateError as error:
        print(f"{given.name} was not taken in: {error}", file=sys.stderr)
        return 1
    print(
        f"{manifest.name}: {manifest.format}, {manifest.size_bytes:,} bytes, largest difference "
        f"{manifest.parity['max_abs_diff']:.1e} on {manifest.parity['samples']:,} samples, batching "
        f"{manifest.batching.verdict} ({manifest.batching.reason}), in {shown(given.repository)}"
    )
    return 0


def adopt(model: Path, name: str, samples: Path, framework: str, repository: Path) -> Manifest:
    """Put a model and its samples into a repository; raises GateError where it doesn't give the expected answers."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise StageError(f"--name {name!r}: use lower-case letters, digits and hyphens, as in my-onnx")
    if name in list_artifacts():
        raise StageError(f"--name {name!r} is what `make export` calls one of its own: choose another")
    format_name, brought = format_of(model), read_brought(samples)
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=repository) as temporary:
        folder = Path(temporary) / name
        place(model, folder / VERSION, brought)
        loaded = find_format(format_name).load(folder / VERSION)
        batching = prove_batching(loaded, brought.inputs, name)
        tolerances = tolerances_of(brought.expected, TOLERANCE, TOLERANCE)
        parity, answers = compare(loaded, brought.inputs, brought.expected, name, tolerances, batching)
        if parity.failures:
            raise GateError("; ".join(parity.failures))
        accuracy = right(brought, answers)
        manifest = replace(
            describe(name, framework, format_name, loaded, folder, parity, accuracy),
            batching=batching,
            tolerances=tolerances,
        )
        manifest.write(folder)
        add_samples(repository, name, brought.inputs, brought.expected, brought.labels)
        shutil.rmtree(repository / name, ignore_errors=True)
        folder.rename(repository / name)
    return manifest


def format_of(model: Path) -> str:
    """The format of a user's file, by its suffix."""
    if model.is_dir():
        return "savedmodel"
    if not model.is_file():
        raise StageError(f"no file {shown(model)}")
    if model.suffix not in FILES:
        raise StageError(f"{shown(model)}: a model is a folder (SavedModel) or ends in {', '.join(FILES)}")
    return FILES[model.suffix][0]


def place(model: Path, version_folder: Path, brought: Brought) -> None:
    """Copy the model under the name its format gives it; a TorchScript file gets the samples' tensor names."""
    if model.is_dir():
        shutil.copytree(model, version_folder)
        return
    version_folder.mkdir(parents=True)
    shutil.copyfile(model, version_folder / FILES[model.suffix][1])
    if model.suffix == ".pt":
        write_signature(version_folder, specs_of(brought.inputs), specs_of(brought.expected))


def specs_of(tensors: dict[str, np.ndarray]) -> tuple[TensorSpec, ...]:
    """The tensors' names, datatypes and shapes, the first dimension free."""
    return tuple(TensorSpec(n, DATATYPE_OF[array.dtype], (-1, *array.shape[1:])) for n, array in tensors.items())


def read_brought(path: Path) -> Brought:
    """Read a user's samples; raises StageError with what they lack."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise StageError(f"no file {shown(path)}") from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise StageError(f"{shown(path)} is no .npz file of plain arrays: {error}") from None
    inputs, expected = (
        {name.removeprefix(side): array for name, array in arrays.items() if name.startswith(side)}
        for side in ("inputs/", "expected/")
    )
    for side, found in (("inputs", inputs), ("expected", expected)):
        if not found:
            raise StageError(f"{shown(path)} has no array {side}/<tensor>, only {', '.join(arrays) or 'none'}")
    counts = {name: len(array) for name, array in (inputs | expected).items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise StageError(f"{shown(path)}: the arrays have to have the same number of samples, they have {counts}")
    return Brought(inputs, expected, arrays.get("labels"))


def right(brought: Brought, answers: dict[str, np.ndarray]) -> float | None:
    """The share of right labels, where labels and one table of scores are known."""
    scores = next(iter(answers.values()))
    if brought.labels is None or scores.ndim != 2:
        return None
    return float((scores.argmax(axis=1) == brought.labels).mean())


def describe(
    name: str,
    framework: str,
    format_name: str,
    model: LoadedModel,
    folder: Path,
    parity: Parity,
    accuracy: float | None,
) -> Manifest:
    """Make the manifest of a model that passed."""
    return Manifest(
        name=name,
        framework=framework,
        format=format_name,
        version=VERSION,
        inputs=model.inputs,
        outputs=model.outputs,
        sha256=files_below(folder),
        size_bytes=size_below(folder),
        test_accuracy=accuracy,
        parity=parity.as_dict(),
    )
