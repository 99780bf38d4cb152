"""The samples that go with a model repository: inputs, and the answers expected of each artifact.

Writes `artifacts/model_repository/samples.npz`: `inputs/<tensor>`, `expected/<artifact>/<tensor>`, `labels`. From here
on nothing knows that this is MNIST. The same content gives the same bytes, so its sha256 says that work was equal.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from contract import FRAMEWORKS, Manifest, StageError, Tensors, shown, write_whole

FILE = "samples.npz"
COUNT = 512
"""Test images in the file, the first ones."""


def write_samples(models: Path, repository: Path) -> Path:
    """Write the samples of every artifact in the repository; keep those of artifacts brought by a user."""
    from training.mnist import INPUT, OUTPUT, read_split, scale

    test = read_split("t10k").first(COUNT)
    arrays = {f"inputs/{INPUT.name}": scale(test.images), "labels": test.labels.astype(np.int64)}
    kept = read_arrays(repository)
    for path in sorted(repository.glob("*/manifest.json")):
        manifest = Manifest.read(path.parent, "make export")
        if manifest.framework in FRAMEWORKS and "model_sha256" in manifest.training:
            answers = np.load(models / manifest.framework / "test_probabilities.npy")[:COUNT]
            arrays[f"expected/{manifest.name}/{OUTPUT.name}"] = answers
        else:
            arrays |= {name: a for name, a in kept.items() if name.startswith(f"expected/{manifest.name}/")}
    return save(repository, arrays)


def add_samples(
    repository: Path, artifact: str, inputs: Tensors, answers: Tensors, labels: np.ndarray | None = None
) -> Path:
    """Add an artifact's answers to the repository's samples; raises StageError where the inputs are other ones."""
    arrays = read_arrays(repository)
    had = {name: array for name, array in arrays.items() if name.startswith("inputs/")}
    new = {f"inputs/{name}": array for name, array in inputs.items()}
    if had and not same(had, new):
        raise StageError(
            f"{shown(repository / FILE)} has other inputs ({', '.join(sorted(had))}) than {artifact}'s samples: "
            "give the model a repository of its own with --repository"
        )
    arrays |= new | {f"expected/{artifact}/{name}": array for name, array in answers.items()}
    if labels is not None:
        arrays["labels"] = labels
    return save(repository, arrays)


def same(a: Tensors, b: Tensors) -> bool:
    """Whether two sets of named arrays are equal."""
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a)


def read_arrays(repository: Path) -> dict[str, np.ndarray]:
    """Every array of the samples file; none where there is no file."""
    path = repository / FILE
    if not path.is_file():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def save(repository: Path, arrays: Tensors) -> Path:
    """Write the arrays in the order of their names and without the time, which `np.savez` would put in."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(arrays[name]), allow_pickle=False)
    path = repository / FILE
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        write_whole(path, buffer.getvalue())
    return path
