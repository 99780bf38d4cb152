"""Make one artifact: convert, pass the gate, write the manifest, move into place. Each runs in a process of its own.

Reads `<models>/<framework>/`; writes `<repository>/<artifact>/1/…` and `manifest.json`.

    python -m export.convert pytorch-onnx artifacts/mnist/models artifacts/mnist/model_repository
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from contract import Batching, Manifest, StageError, Tolerance, files_below, sha256_of, size_below
from export.batching import prove_batching
from export.format import Format, LoadedModel, find_format
from export.parity import Parity, compare

VERSION = "1"
GATE = Tolerance(1e-5)
"""Of a probability, where the artifact is converted."""
SERVED = Tolerance(1e-4)
"""Of a probability, where it is served: ten times as much, for a server's own order of summation."""


class GateError(Exception):
    """An artifact that doesn't answer as the trained model does; the message has the figures."""


def origin(artifact: str, models: Path) -> dict[str, str]:
    """What an artifact is made from: digests of the trained model's manifest and of the code of the format."""
    framework, format_name = artifact.split("-", 1)
    code = sys.modules[type(find_format(format_name)).__module__].__file__ or ""
    return {
        "model_sha256": sha256_of(models / framework / "manifest.json"),
        "exporter_sha256": sha256_of(Path(code)),
    }


def versions(format_: Format, framework: str) -> dict[str, str]:
    """The versions of the packages that decide what is written."""
    packages = {name: importlib.metadata.version(name) for name in format_.packages.get(framework, ())}
    return packages | {"python": platform.python_version()}


def is_fresh(artifact: str, models: Path, repository: Path) -> bool:
    """Whether the artifact is there, intact, and what converting again would make."""
    framework, format_name = artifact.split("-", 1)
    format_ = find_format(format_name)
    try:
        manifest = Manifest.read(repository / artifact, "make export")
        manifest.check_files(repository / artifact, "make export")
    except StageError:
        return False
    # what this environment lacks an extra for was made by another one: its versions say nothing here
    as_here = bool(format_.missing_extra(framework)) or manifest.versions == versions(format_, framework)
    return as_here and manifest.training.items() >= origin(artifact, models).items()


def make(artifact: str, models: Path, repository: Path) -> Manifest:
    """Make one artifact; raises GateError and leaves no artifact where it fails the gate."""
    framework, format_name = artifact.split("-", 1)
    format_ = find_format(format_name)
    trained = Manifest.read(models / framework, f"make train-{framework}")
    trained.check_files(models / framework, f"make train-{framework}")
    shutil.rmtree(repository / artifact, ignore_errors=True)
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{artifact}.", dir=repository) as name:
        folder = Path(name) / artifact
        (folder / VERSION).mkdir(parents=True)
        format_.convert(framework, models / framework, folder / VERSION)
        manifest = gate(artifact, format_, trained, models, folder)
        manifest.write(folder)
        folder.rename(repository / artifact)
    return manifest


def gate(artifact: str, format_: Format, trained: Manifest, models: Path, folder: Path) -> Manifest:
    """Run the artifact on all test images and describe it; raises GateError where its answers differ."""
    from training.mnist import read_split, scale

    test = read_split("t10k")
    model = format_.load(folder / VERSION)
    if [(s.name, s.datatype) for s in model.inputs + model.outputs] != [
        (s.name, s.datatype) for s in trained.inputs + trained.outputs
    ]:
        raise GateError(f"its tensors are {model.inputs + model.outputs}, not {trained.inputs + trained.outputs}")
    output = trained.outputs[0].name
    inputs = {trained.inputs[0].name: scale(test.images)}
    expected = {output: np.load(models / trained.framework / "test_probabilities.npy")}
    batching = prove_batching(model, inputs, artifact)
    parity, answers = compare(model, inputs, expected, artifact, {output: GATE}, batching, scores=output)
    if parity.failures:
        raise GateError("; ".join(parity.failures))
    accuracy = float((answers[output].argmax(axis=1) == test.labels).mean())
    return manifest_of(artifact, model, models, folder, parity, batching, accuracy)


def manifest_of(
    artifact: str,
    model: LoadedModel,
    models: Path,
    folder: Path,
    parity: Parity,
    batching: Batching,
    accuracy: float,
) -> Manifest:
    """Make the manifest of an artifact that passed."""
    framework, format_name = artifact.split("-", 1)
    return Manifest(
        name=artifact,
        framework=framework,
        format=format_name,
        version=VERSION,
        inputs=model.inputs,
        outputs=model.outputs,
        sha256=files_below(folder),
        size_bytes=size_below(folder),
        test_accuracy=accuracy,
        batching=batching,
        tolerances={spec.name: SERVED for spec in model.outputs},
        parity=parity.as_dict(),
        training=origin(artifact, models),
        versions=versions(find_format(format_name), framework),
    )


def main() -> int:
    """Make the artifact named on the command line; 0 made, 1 failed the gate or the converter, 2 a StageError."""
    artifact, models, repository = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    try:
        make(artifact, models, repository)
    except GateError as error:
        print(f"{artifact} failed the parity gate: {error}", file=sys.stderr)
        return 1
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
