"""The files that a model consists of: which format they are, and how they come into a version folder.

Copies, never moves: what a user gave stays as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from contract import StageError, Tensors, shown, to_json
from export.formats.tflite import SIGNATURE_FILE
from export.formats.torchscript import write_user_signature

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
        saved_model(model)
        return "savedmodel"
    if not model.is_file():
        raise StageError(f"no file {shown(model)}")
    if model.suffix in OTHERS:
        raise StageError(f"{shown(model)} is {OTHERS[model.suffix]}")
    if model.suffix not in FORMAT_OF:
        raise StageError(f"{shown(model)}: a model is a folder (SavedModel) or ends in {', '.join(FORMAT_OF)}")
    return FORMAT_OF[model.suffix]


def saved_model(folder: Path) -> Path:
    """The SavedModel in a folder: the folder itself, or the newest of its version folders, as TF Serving has them."""
    versions = [path.parent for path in folder.glob("*/saved_model.pb") if path.parent.name.isdecimal()]
    if (folder / "saved_model.pb").is_file():
        return folder
    if not versions:
        raise StageError(f"{shown(folder)} has no saved_model.pb, nor has a version folder in it: it is no SavedModel")
    return max(versions, key=lambda path: int(path.name))


def place(
    model: Path, format_name: str, version_folder: Path, inputs: Tensors, expected: Tensors, signature: str | None
) -> None:
    """Copy the model under the name its format gives it; a TorchScript file gets the samples' tensor names."""
    if signature and format_name != "tflite":
        raise StageError(f"--signature {signature!r}: only a TFLite file has signatures to choose from here")
    if model.is_dir():
        shutil.copytree(saved_model(model), version_folder)
        return
    version_folder.mkdir(parents=True)
    shutil.copyfile(model, version_folder / NAME_OF[format_name])
    if format_name == "onnx":
        for name in external_files(model):
            (version_folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.parent / name, version_folder / name)
    if signature:
        (version_folder / SIGNATURE_FILE).write_text(to_json({"signature": signature}))
    if format_name == "torchscript":
        write_user_signature(version_folder, shown(model), inputs, expected)


def external_files(model: Path) -> list[str]:
    """The files beside an ONNX model that hold its weights, as PyTorch writes them and models beyond 2 GB need."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    try:
        proto = onnx.load(str(model), load_external_data=False)
    except DecodeError as error:
        raise StageError(f"{shown(model)} is no ONNX model: {error}") from None
    names = sorted({ExternalDataInfo(t).location for t in _get_all_tensors(proto) if uses_external_data(t)})
    for name in names:
        if not (model.parent / name).resolve().is_relative_to(model.parent.resolve()):
            raise StageError(f"{shown(model)} has weights in {name}: they have to lie in the model's own folder")
        if not (model.parent / name).is_file():
            raise StageError(f"{shown(model)} has weights in {name}, which is not beside it: give both files")
    return names


def replace_folder(target: Path, folder: Path) -> None:
    """Move `folder` to `target`; what was there goes with the temporary folder, or comes back if the move fails."""
    before = folder.with_name("before")
    if target.exists():
        target.rename(before)
    try:
        folder.rename(target)
    except BaseException:
        if before.exists():
            before.rename(target)
        raise
