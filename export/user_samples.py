"""Read the samples that come with a user's model, and fit them to the tensors that the model takes and gives.

A `.npz` file has `inputs/<tensor>` and `expected/<tensor>`, the samples in the first dimension, and `labels` if known.
An array of the model's own rank has the samples in the model's first dimension; one of a rank more has a whole tensor
for each sample, as scalars and tensors whose batch is not first need.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from contract import DATATYPE_OF, StageError, TensorSpec, shown
from export.format import LoadedModel
from export.samples import as_bytes

ROUNDED = {"FP32": np.finfo(np.float32).eps, "FP16": np.finfo(np.float16).eps}
"""How much, relatively, a conversion of floats may change: the rounding that the model's own datatype has."""


@dataclass(frozen=True)
class UserSamples:
    """The samples that come with a model."""

    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    labels: np.ndarray | None


def read_user_samples(path: Path) -> UserSamples:
    """Read a user's samples; raises StageError with what they lack."""
    arrays = read_arrays(path)
    sides: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "expected": {}}
    for name, array in arrays.items():
        side, _, tensor = name.partition("/")
        if side in sides and tensor:
            sides[side][tensor] = array
    for side, tensors in sides.items():
        if not tensors:
            raise StageError(f"{shown(path)} has no array {side}/<tensor>, only {', '.join(arrays) or 'none'}")
    labels = arrays.get("labels")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise StageError(f"{shown(path)}: labels have to be one whole number a sample, not {described(labels)}")
    check_counts(path, sides["inputs"] | sides["expected"] | ({} if labels is None else {"labels": labels}))
    return UserSamples(sides["inputs"], sides["expected"], labels)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a `.npz` file; strings may be objects, but nothing else that pickle could make."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    arrays[entry.removesuffix(".npy")] = read_array(file)
    except FileNotFoundError:
        raise StageError(f"no file {shown(path)}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise StageError(f"{shown(path)} is no .npz file of numbers and strings: {error}") from None
    for name, array in arrays.items():
        if array.dtype == np.object_ and not all(isinstance(item, bytes) for item in array.ravel()):
            raise StageError(f"{shown(path)}: {name} has objects that are no strings")
        if array.dtype != np.object_ and array.dtype not in DATATYPE_OF:
            raise StageError(f"{shown(path)}: {name} is {array.dtype}: the Open Inference Protocol can't carry it")
    return arrays


def read_array(file: IO[bytes]) -> np.ndarray:
    """Read one `.npy` file; strings become Python bytes in an object array."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read_header(file)
    if dtype.hasobject:
        texts = StringsAlone(file).load()
        items = [item.encode() if isinstance(item, str) else item for item in np.asarray(texts, np.object_).ravel()]
        strings = np.empty(len(items), np.object_)
        strings[:] = items
        return strings.reshape(shape)
    numbers: np.ndarray = np.frombuffer(file.read(), dtype)
    array = numbers.reshape(shape[::-1]).T if in_columns else numbers.reshape(shape)
    return as_bytes(np.ascontiguousarray(array.astype(dtype.newbyteorder("="))).reshape(shape))


def described(array: np.ndarray) -> str:
    """Datatype and shape of an array, for messages."""
    return f"{DATATYPE_OF[array.dtype]} {list(array.shape)}"


class StringsAlone(pickle.Unpickler):
    """Unpickles NumPy arrays of str and bytes; whatever could run code is refused."""

    KNOWN = {
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """See `pickle.Unpickler.find_class`."""
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"an array holds a {module}.{name}")
        return super().find_class(module, name)


def check_counts(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise StageError unless all arrays have the same number of samples, at least one."""
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise StageError(
            f"{shown(path)}: the arrays have to have the same number of samples in their first dimension, "
            f"they have {counts}"
        )


def fit(samples: UserSamples, model: LoadedModel, file: Path) -> UserSamples:
    """Convert the samples to the model's datatypes; raises StageError where shape or datatype don't fit."""
    specs = {spec.name: spec for spec in model.inputs}
    inputs = {}
    for name, array in samples.inputs.items():
        if name in specs:
            check_shape(specs[name], array, file)
        inputs[name] = converted("inputs", array, specs.get(name))
    outputs = {spec.name: spec for spec in model.outputs}
    expected = {name: converted("expected", array, outputs.get(name)) for name, array in samples.expected.items()}
    return UserSamples(inputs, expected, samples.labels)


def check_shape(spec: TensorSpec, array: np.ndarray, file: Path) -> None:
    """Raise StageError where an array holds neither rows of a tensor nor whole tensors."""
    shape = list(array.shape)
    if array.ndim == len(spec.shape):
        if spec.shape[0] not in (-1, 1):
            whole = ", ".join(["samples", *map(str, spec.shape)])
            raise StageError(
                f"{shown(file)} takes {spec.name!r} of shape {list(spec.shape)} only: give each sample as a whole "
                f"tensor, inputs/{spec.name} of shape [{whole}], not {shape}"
            )
        sizes, wanted = array.shape[1:], spec.shape[1:]
    elif array.ndim == len(spec.shape) + 1:
        sizes, wanted = array.shape[1:], spec.shape
    else:
        sizes, wanted = (), (0,)
    if len(sizes) != len(wanted) or any(w not in (-1, s) for s, w in zip(sizes, wanted, strict=True)):
        raise StageError(f"inputs/{spec.name} has shape {shape}, {shown(file)} takes {list(spec.shape)}")


def converted(side: str, array: np.ndarray, spec: TensorSpec | None) -> np.ndarray:
    """An array in the datatype of its tensor; raises StageError where that would change it by more than rounding."""
    if spec is None or array.dtype == spec.dtype:
        return array
    title = f"{side}/{spec.name}"
    if np.object_ in (array.dtype, spec.dtype):
        have = DATATYPE_OF[array.dtype]
        raise StageError(f"{title} has datatype {have}: the model's tensor is {spec.datatype}")
    with np.errstate(all="ignore"):
        result = array.astype(spec.dtype)
    if not is_kept(array, result, spec.datatype):
        raise StageError(
            f"{title} has datatype {DATATYPE_OF[array.dtype]}: its values change as {spec.datatype}, which the model's "
            "tensor is; give the samples in that datatype"
        )
    print(f"{title}: {DATATYPE_OF[array.dtype]} is converted to the model's {spec.datatype}", file=sys.stderr)
    return result


def is_kept(array: np.ndarray, result: np.ndarray, datatype: str) -> bool:
    """Whether a conversion keeps the values: floats up to rounding, all else exactly."""
    if array.dtype.kind != "f" or result.dtype.kind != "f":
        with np.errstate(all="ignore"):
            return bool(np.array_equal(result.astype(array.dtype), array))
    finite = np.isfinite(array)
    smallest = float(np.finfo(result.dtype).tiny)
    limit = np.abs(array, where=finite, out=np.zeros_like(array)) * ROUNDED.get(datatype, 0.0) + smallest
    differences = np.abs(np.where(finite, result.astype(np.float64) - array.astype(np.float64), 0.0))
    return bool((np.isfinite(result) == finite).all() and (differences <= limit).all())
