"""The files that a model consists of: which format they are, and how they come into a version folder.

Copies, never moves: what a user gave stays as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from contract import DATATYPE_OF, StageError, Tensors, TensorSpec, shown
from export.formats.torchscript import write_signature

FORMAT_OF = {".onnx": "onnx", ".tflite": "tflite", ".pt": "torchscript", ".pth": "torchscript", ".jit": "torchscript"}
"""By the suffix of a file; a folder is a SavedModel."""
NAME_OF = {"onnx": "model.onnx", "tflite": "model.tflite", "torchscript": "model.pt"}
"""What the version folder calls the file."""
OTHERS = {
    ".keras": "a Keras file: save it as a SavedModel with `model.export(folder)` and give the folder",
    ".h5": "a Keras file: save it as a SavedModel with `model.export(folder)` and give the folder",
    ".pt2": "a program of torch.export: write it as ONNX with `torch.onnx.export(program, f='model.onnx')`",
    ".safetensors": "weights without a network: export the module to ONNX or TorchScript first",
}
"""What a file of another kind is, and the way to one that is taken."""


def format_of(model: Path) -> str:
    """The format of a user's file; raises StageError with the way to one that is known."""
    if model.is_dir():
        if not (model / "saved_model.pb").is_file():
            versions = sorted(path.parent.name for path in model.glob("*/saved_model.pb"))
            hint = f"give one of its version folders: {', '.join(str(model / v) for v in versions)}" if versions else ""
            raise StageError(f"{shown(model)} has no saved_model.pb: {hint or 'a folder has to be a SavedModel'}")
        return "savedmodel"
    if not model.is_file():
        raise StageError(f"no file {shown(model)}")
    if model.suffix in OTHERS:
        raise StageError(f"{shown(model)} is {OTHERS[model.suffix]}")
    if model.suffix not in FORMAT_OF:
        raise StageError(f"{shown(model)}: a model is a folder (SavedModel) or ends in {', '.join(FORMAT_OF)}")
    return FORMAT_OF[model.suffix]


def place(model: Path, format_name: str, version_folder: Path, inputs: Tensors, expected: Tensors) -> None:
    """Copy the model under the name its format gives it; a TorchScript file gets the samples' tensor names."""
    if model.is_dir():
        shutil.copytree(model, version_folder)
        return
    version_folder.mkdir(parents=True)
    shutil.copyfile(model, version_folder / NAME_OF[format_name])
    if format_name == "torchscript":
        write_signature(version_folder, specs_of(inputs), specs_of(expected))


def specs_of(tensors: Tensors) -> tuple[TensorSpec, ...]:
    """The tensors' names, datatypes and shapes, the first dimension free."""
    return tuple(TensorSpec(n, DATATYPE_OF[array.dtype], (-1, *array.shape[1:])) for n, array in tensors.items())
