"""TFLite, TensorFlow's format for small devices, now LiteRT: one file `model.tflite`, the tensors' names inside."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contract import DATATYPE_OF, StageError, Tensors, TensorSpec, shown
from export.format import Format, LoadedModel

FILE = "model.tflite"
SIGNATURE_FILE = "signature.json"
"""Beside a model with several signatures: the one that was chosen."""
LONG_BYTES = 1 << 20
SERVING_DEFAULT = "serving_default"


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
        return loaded(path, interpreter)


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


def loaded(path: Path, interpreter: Any) -> LoadedModel:
    """Wire an interpreter to named tensors: by the chosen signature, or by its tensors' own names where it has none."""
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAsModel(path.read_bytes(), 0)
    key = chosen_signature(path, list(interpreter.get_signature_list()))
    if key:
        runner = interpreter.get_signature_runner(key)
        ins, outs = runner.get_input_details(), runner.get_output_details()
    else:
        sides = (interpreter.get_input_details(), interpreter.get_output_details())
        ins, outs = ({detail["name"]: detail for detail in side} for side in sides)
    inputs = tuple(spec_of(path, name, detail) for name, detail in ins.items())
    outputs = tuple(spec_of(path, name, detail) for name, detail in outs.items())
    if subgraph_of(file, key) == 0:
        indices = [{name: detail["index"] for name, detail in side.items()} for side in (ins, outs)]
        return LoadedModel(inputs, outputs, run_first_subgraph(interpreter, inputs, *indices), variable(file))

    def run(tensors: Tensors) -> dict[str, np.ndarray]:
        return dict(runner(**tensors))  # slower: it allocates at each call, but it alone reaches the other subgraphs

    return LoadedModel(inputs, outputs, run, variable(file))


def run_first_subgraph(
    interpreter: Any, specs: tuple[TensorSpec, ...], inputs: dict[str, int], outputs: dict[str, int]
) -> Callable[[Tensors], dict[str, np.ndarray]]:
    """The function that runs the first subgraph; it allocates anew only where a shape is another one than before."""
    shapes: dict[str, tuple[int, ...]] = {}
    strings = {spec.name for spec in specs if spec.datatype == "BYTES"}  # set_tensor fixes their shape

    def run(tensors: Tensors) -> dict[str, np.ndarray]:
        if any(shapes.get(name) != tensors[name].shape for name in inputs):
            shapes.clear()  # a failed resize leaves nothing that could match
            for name, index in inputs.items():
                interpreter.resize_tensor_input(index, tensors[name].shape, strict=name not in strings)
            interpreter.allocate_tensors()
            shapes.update({name: tensors[name].shape for name in inputs})
        for name, index in inputs.items():
            set_content(interpreter, index, tensors[name])
        interpreter.invoke()
        return {name: content(interpreter, index) for name, index in outputs.items()}

    return run


def set_content(interpreter: Any, index: int, array: np.ndarray) -> None:
    """Set an input: LiteRT copies while it holds Python's lock, which a long array may not, or other threads wait."""
    if array.nbytes < LONG_BYTES or array.dtype == np.object_:
        interpreter.set_tensor(index, array)
    else:
        np.copyto(interpreter.tensor(index)(), array, casting="no")  # no reference to the view may be left


def content(interpreter: Any, index: int) -> np.ndarray:
    """A copy of a tensor's content; LiteRT raises where there is no element, as where a filter lets none pass."""
    try:
        return np.asarray(interpreter.get_tensor(index))
    except ValueError:
        details = {detail["index"]: detail for detail in interpreter.get_output_details()}
        if index not in details or 0 not in details[index]["shape"]:
            raise
        return np.empty(details[index]["shape"], details[index]["dtype"])


def chosen_signature(path: Path, signatures: list[str]) -> str:
    """The signature to run: the one that the import wrote down, else `serving_default`, else the only one."""
    choice = path.with_name(SIGNATURE_FILE)
    wanted = json.loads(choice.read_text())["signature"] if choice.is_file() else SERVING_DEFAULT
    if wanted in signatures:
        return str(wanted)
    if choice.is_file() or len(signatures) > 1:
        known = ", ".join(signatures) or "none"
        raise StageError(f"{shown(path)} has no signature {wanted!r}, only {known}: choose one with --signature")
    return signatures[0] if signatures else ""


def subgraph_of(file: Any, signature: str) -> int:
    """The index of the subgraph that a signature runs; a file without signatures runs its first."""
    for definition in (file.SignatureDefs(index) for index in range(file.SignatureDefsLength())):
        if definition.SignatureKey().decode() == signature:
            return int(definition.SubgraphIndex())
    return 0


def variable(file: Any) -> str:
    """Name what a run writes and the next one reads, as fused LSTMs do; "" without such a thing."""
    from ai_edge_litert import schema_py_generated as schema

    codes = (file.OperatorCodes(index).BuiltinCode() for index in range(file.OperatorCodesLength()))
    if schema.BuiltinOperator.ASSIGN_VARIABLE in codes:
        return "it has an operation ASSIGN_VARIABLE"
    for graph in (file.Subgraphs(index) for index in range(file.SubgraphsLength())):
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength())):
            if tensor.IsVariable():
                return f"tensor {tensor.Name().decode()!r} is a variable"
    return ""


def spec_of(path: Path, name: str, detail: Any) -> TensorSpec:
    """Describe a tensor; `shape_signature` has -1 where a dimension is free."""
    kind = detail["dtype"]
    datatype = "BYTES" if kind in (np.bytes_, np.object_) else DATATYPE_OF.get(np.dtype(kind))
    if datatype is None:
        raise StageError(f"{shown(path)}: {name!r} is {kind.__name__}: the Open Inference Protocol can't carry it")
    return TensorSpec(name, datatype, tuple(int(size) for size in detail["shape_signature"]))


FORMAT = TfLite()
