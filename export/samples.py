"""The samples that go with a model repository: inputs, and the answers expected of each artifact.

Writes `<repository>/samples.npz`: `inputs/<tensor>`, `expected/<artifact>/<tensor>`, `labels`. From here
on nothing knows that this is MNIST. The same content gives the same bytes, so its sha256 says that work was equal.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contract import Manifest, StageError, Tensors, shown, write_whole

FILE = "samples.npz"
COUNT = 512
"""Test images in the file, the first ones."""


def write_samples(models: Path, repository: Path) -> Path:
    """Write the samples of every artifact of the twins; raises StageError where the repository is another model's."""
    from training.mnist import INPUT, OUTPUT, read_split, scale

    test = read_split("t10k").first(COUNT)
    arrays = {f"inputs/{INPUT.name}": scale(test.images), "labels": test.labels.astype(np.int64)}
    check_own(repository)
    for path in sorted(repository.glob("*/manifest.json")):
        manifest = Manifest.read(path.parent, "make export")
        answers = np.load(models / manifest.framework / "test_probabilities.npy")[:COUNT]
        arrays[f"expected/{manifest.name}/{OUTPUT.name}"] = answers
    return save(repository, arrays)


def check_own(repository: Path) -> None:
    """Raise StageError where a repository holds a model that isn't the twins': nothing of it may be overwritten."""
    manifests = (Manifest.read(path.parent, "make export") for path in sorted(repository.glob("*/manifest.json")))
    foreign = [manifest.name for manifest in manifests if "model_sha256" not in manifest.training]
    if foreign:
        raise StageError(
            f"{shown(repository)} holds another model ({', '.join(foreign)}): give its name with MODEL=, and leave "
            "MODEL_REPOSITORY unset; nothing was changed"
        )


def others_with(repository: Path, artifact: str, inputs: Tensors) -> list[str]:
    """The other artifacts of a repository; raises StageError where these are checked with other inputs."""
    others = sorted(p.parent.name for p in repository.glob("*/manifest.json") if p.parent.name != artifact)
    arrays = {name: a for name, a in read_arrays(repository).items() if name.startswith("inputs/")}
    if others and not same(arrays, {f"inputs/{name}": array for name, array in inputs.items()}):
        raise StageError(
            f"{shown(repository)} has {', '.join(others)} with other inputs ({', '.join(sorted(arrays))}): all "
            "artifacts of a model are checked with the same samples; choose another --name for another model"
        )
    return others


def add_samples(
    repository: Path, artifact: str, inputs: Tensors, answers: Tensors, labels: np.ndarray | None = None
) -> Path:
    """Add an artifact's answers to the repository's samples; raises StageError where the inputs are other ones."""
    others = others_with(repository, artifact, inputs)
    kept = read_arrays(repository) if others else {}
    arrays = {name: array for name, array in kept.items() if not name.startswith(f"expected/{artifact}/")}
    arrays |= {f"inputs/{name}": array for name, array in inputs.items()}
    arrays |= {f"expected/{artifact}/{name}": array for name, array in answers.items()}
    if labels is not None:
        arrays["labels"] = labels
    return save(repository, arrays)


def take(arrays: Tensors, ranks: Mapping[str, int], rows: slice | list[int]) -> dict[str, np.ndarray]:
    """Some samples as the inputs of one request.

    An array of the model's own rank has the samples in the model's first dimension. One of a rank more has a whole
    tensor for each sample (a scalar, a state whose batch is not first), so only one sample makes a request.
    """
    tensors = {}
    for name, array in arrays.items():
        chosen = array[rows]
        if array.ndim == ranks.get(name, array.ndim) + 1:
            if len(chosen) != 1:
                raise StageError(f"the samples of {name!r} are whole tensors, {len(chosen)} make no batch: take one")
            chosen = chosen[0, ...]  # the dots keep a scalar an array
        tensors[name] = chosen
    return tensors


def same(a: Tensors, b: Tensors) -> bool:
    """Whether two sets of named arrays are equal."""
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a)


def read_arrays(repository: Path) -> dict[str, np.ndarray]:
    """Every array of the samples file; none where there is no file."""
    path = repository / FILE
    if not path.is_file():
        return {}
    with np.load(path) as file:
        return {name: as_bytes(file[name]) for name in file.files}


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Strings as Python `bytes` in an object array, which is how tensors of the datatype BYTES are held."""
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    return array.astype(np.object_) if array.dtype.kind == "S" else array


def storable(name: str, array: np.ndarray) -> np.ndarray:
    """An array of bytes as NumPy stores it without pickle; raises StageError where it would lose a byte."""
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).reshape(array.shape)  # the first makes a scalar an array of one
    if any(item.endswith(b"\0") for item in array.ravel()):
        raise StageError(f"{name}: a string ends in a NUL byte, which samples.npz can't keep")
    return array.astype(np.bytes_)


def save(repository: Path, arrays: Tensors) -> Path:
    """Write the arrays in the order of their names and without the time, which `np.savez` would put in."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, storable(name, arrays[name]), allow_pickle=False)
    path = repository / FILE
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        write_whole(path, buffer.getvalue())
    return path
