"""ONNX, the format between the frameworks: one file `model.onnx`, run by ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from contract import StageError, Tensors, TensorSpec, shown
from export.format import Format, LoadedModel

FILE = "model.onnx"
OPSET = 18

# https://onnxruntime.ai/docs/reference/operators: the runtime's names of element types
DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class Onnx(Format):
    """Written by tf2onnx or by `torch.onnx.export`, the weights inside the one file."""

    packages = {"tensorflow": ("tensorflow", "tf2onnx", "onnx"), "pytorch": ("torch", "onnxscript", "onnx")}

    def from_tensorflow(self, model_folder: Path, version_folder: Path) -> None:
        """Convert the network's function with tf2onnx."""
        from training.train_tensorflow import load

        import tf2onnx  # isort: skip: it imports TensorFlow, whose greetings are held back above

        logging.getLogger("tf2onnx").setLevel(logging.WARNING)
        served, path = load(model_folder), str(version_folder / FILE)  # the function alone holds its module only weakly
        signature = served.__call__.input_signature
        tf2onnx.convert.from_function(served.__call__, signature, opset=OPSET, output_path=path)

    def from_pytorch(self, model_folder: Path, version_folder: Path) -> None:
        """Capture the network with `torch.export` and write its ONNX program."""
        import torch

        from training.mnist import INPUT, OUTPUT
        from training.train_pytorch import load

        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names each torchvision operator it does without
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            torch.onnx.export(
                load(model_folder),
                (torch.zeros(2, *INPUT.shape[1:]),),
                version_folder / FILE,
                input_names=[INPUT.name],
                output_names=[OUTPUT.name],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                external_data=False,
                verbose=False,
            )

    def load(self, version_folder: Path, threads: int = 1) -> LoadedModel:
        """Load `model.onnx` into an ONNX Runtime session on the CPU."""
        path = version_folder / FILE
        if not path.is_file():
            raise StageError(f"no {shown(path)}: run `make export`")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no base class of their own
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise StageError(f"{shown(path)} is no ONNX model that the runtime loads: {error}") from error
        inputs = tuple(spec_of(path, tensor) for tensor in session.get_inputs())
        outputs = tuple(spec_of(path, tensor) for tensor in session.get_outputs())
        names = [spec.name for spec in outputs]

        def run(tensors: Tensors) -> dict[str, np.ndarray]:
            return dict(zip(names, session.run(names, tensors), strict=True))

        def run_strings(tensors: Tensors) -> dict[str, np.ndarray]:
            return {name: encoded(array) for name, array in run({n: decoded(a) for n, a in tensors.items()}).items()}

        has_strings = any(spec.datatype == "BYTES" for spec in (*inputs, *outputs))
        return LoadedModel(inputs, outputs, run_strings if has_strings else run)


def spec_of(path: Path, tensor: Any) -> TensorSpec:
    """Describe an input or output of a session; a named or unknown dimension is free and keeps its name."""
    if tensor.type.startswith("seq(map("):
        raise StageError(
            f"{shown(path)}: {tensor.name!r} is {tensor.type}, a ZipMap: convert the model with "
            "options={'zipmap': False} (onnxmltools: zipmap=False), which gives a table of scores instead"
        )
    if tensor.type not in DATATYPES:
        raise StageError(f"{shown(path)}: {tensor.name!r} is {tensor.type}: the Open Inference Protocol can't carry it")
    return TensorSpec(
        tensor.name,
        DATATYPES[tensor.type],
        tuple(size if isinstance(size, int) else -1 for size in tensor.shape),
        tuple(size if isinstance(size, str) else "" for size in tensor.shape),
    )


def decoded(array: np.ndarray) -> np.ndarray:
    """Turn elements of bytes into the str that ONNX Runtime takes; raises ValueError where they aren't UTF-8."""
    if array.dtype != np.object_:
        return array
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(texts, np.object_).reshape(array.shape)


def encoded(array: np.ndarray) -> np.ndarray:
    """Turn elements of str into bytes."""
    if array.dtype != np.object_:
        return array
    return np.array([item.encode() for item in array.ravel()], np.object_).reshape(array.shape)


FORMAT = Onnx()
