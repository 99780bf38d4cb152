"""TFLite, TensorFlow's format for small devices, now LiteRT: one file `model.tflite`, the tensors' names inside."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from contract import DATATYPE_OF, StageError, Tensors, TensorSpec, shown
from export.format import Format, LoadedModel

FILE = "model.tflite"


class TfLite(Format):
    """Written by TensorFlow's converter or by litert-torch, run by the LiteRT interpreter."""

    packages = {"tensorflow": ("tensorflow", "keras"), "pytorch": ("torch", "litert-torch")}
    extras = {"pytorch": ("litert_torch", "litert")}
    remedies = {
        "pytorch": "it wants older packages than the rest, so an environment of its own: "
        "python3 -m venv .venv-litert && .venv-litert/bin/pip install torch==2.13.0 litert-torch==0.10.0 tqdm && "
        ".venv-litert/bin/python -m export pytorch-tflite"
    }

    def from_tensorflow(self, model_folder: Path, version_folder: Path) -> None:
        """Convert the network as a Keras model.

        From the concrete function or the SavedModel, the converter of TensorFlow 2.21 writes a file without the
        weights (5 kB, answers NaN).
        """
        from training.mnist import INPUT, OUTPUT
        from training.quiet_tensorflow import keras, tf
        from training.train_tensorflow import load

        image = keras.Input(INPUT.shape[1:], name=INPUT.name)
        probabilities = keras.layers.Softmax()(load(model_folder).network(image))
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, {OUTPUT.name: probabilities}))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the model's captures
            content = converter.convert()
        (version_folder / FILE).write_bytes(content)

    def from_pytorch(self, model_folder: Path, version_folder: Path) -> None:
        """Convert the network with litert-torch."""
        import litert_torch
        import torch

        from training.mnist import INPUT, OUTPUT
        from training.train_pytorch import load

        class Named(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.served = load(model_folder)

            def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
                return {OUTPUT.name: self.served(image)}

        example = torch.zeros(1, *INPUT.shape[1:])  # a dynamic batch fails in its lowering of `view`
        model = litert_torch.convert(Named().eval(), sample_kwargs={INPUT.name: example})
        model.export(str(version_folder / FILE))
        (version_folder / FILE).write_bytes(free_batch((version_folder / FILE).read_bytes()))

    def load(self, version_folder: Path, threads: int = 1) -> LoadedModel:
        """Load `model.tflite`; the inputs are resized to each new batch, which costs microseconds."""
        path = version_folder / FILE
        if not path.is_file():
            raise StageError(f"no {shown(path)}: run `make export`")
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise StageError(f"{shown(path)} is no TFLite model that loads: {error}") from error
        return hosted(path, interpreter)


def free_batch(content: bytes) -> bytes:
    """Free the first dimension of a model that was converted with a batch of one."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].shapeSignature = [-1, *graph.tensors[index].shape[1:]]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.RESHAPE:
            wanted = model.buffers[graph.tensors[operator.inputs[1]].buffer]
            shape = np.frombuffer(bytes(wanted.data), "<i4").copy()
            shape[0] = -1
            wanted.data = np.frombuffer(shape.tobytes(), np.uint8)
            operator.builtinOptions = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def hosted(path: Path, interpreter: Any) -> LoadedModel:
    """Wire an interpreter to named tensors: by its first signature, else by its tensors' own names."""
    ins, outs = details(interpreter)
    inputs = tuple(spec_of(path, name, detail) for name, detail in ins.items())
    outputs = tuple(spec_of(path, name, detail) for name, detail in outs.items())
    index_of = {name: detail["index"] for name, detail in ins.items()}
    answers = [(name, detail["index"]) for name, detail in outs.items()]
    shapes = {name: tuple(detail["shape"]) for name, detail in ins.items()}

    def run(tensors: Tensors) -> dict[str, np.ndarray]:
        if any(shapes.get(name) != tensors[name].shape for name in index_of):
            shapes.clear()  # a failed resize leaves nothing that could match
            for name, index in index_of.items():
                interpreter.resize_tensor_input(index, tensors[name].shape, strict=True)
            interpreter.allocate_tensors()
            shapes.update({name: tensors[name].shape for name in index_of})
        for name, index in index_of.items():
            interpreter.set_tensor(index, tensors[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in answers}  # copies

    return LoadedModel(inputs, outputs, run, variable(path))


def variable(path: Path) -> str:
    """Name what a run writes and the next one reads, as fused LSTMs do; "" without such a thing."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(path.read_bytes(), 0)
    codes = (model.OperatorCodes(index).BuiltinCode() for index in range(model.OperatorCodesLength()))
    if schema.BuiltinOperator.ASSIGN_VARIABLE in codes:
        return "it has an operation ASSIGN_VARIABLE"
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength())):
            if tensor.IsVariable():
                return f"tensor {tensor.Name().decode()!r} is a variable"
    return ""


def details(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs and outputs by name."""
    signatures = interpreter.get_signature_list()
    if signatures:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        return runner.get_input_details(), runner.get_output_details()
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
    return {detail["name"]: detail for detail in ins}, {detail["name"]: detail for detail in outs}


def spec_of(path: Path, name: str, detail: Any) -> TensorSpec:
    """Describe a tensor; `shape_signature` has -1 where a dimension is free."""
    kind = detail["dtype"]
    datatype = "BYTES" if kind in (np.bytes_, np.object_) else DATATYPE_OF.get(np.dtype(kind))
    if datatype is None:
        raise StageError(f"{shown(path)}: {name!r} is {kind.__name__}: the Open Inference Protocol can't carry it")
    return TensorSpec(name, datatype, tuple(int(size) for size in detail["shape_signature"]))


FORMAT = TfLite()
