"""SavedModel, TensorFlow's own format: the version folder itself, with the signature `serving_default`."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from contract import DATATYPE_OF, StageError, Tensors, TensorSpec, shown
from export.format import Format, LoadedModel

SIGNATURE = "serving_default"
WRITES = re.compile(
    r"Assign|(Resource)?(Sparse)?Apply|ResourceSparse|(Resource)?Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)|Rng|Stateful"
    r"(Random|Standard|Truncated|Uniform)|LookupTable(Insert|Import|Remove)|Queue|Stack(Push|Pop)|Barrier|Stage|Unstage"
)
"""Operations that write a variable or another state, by the beginnings of their names."""


class SavedModel(Format):
    """Written by `tf.saved_model.save`, run by TensorFlow."""

    packages = {"tensorflow": ("tensorflow", "keras")}

    def from_tensorflow(self, model_folder: Path, version_folder: Path) -> None:
        """Save the trained network with its one signature."""
        from training.quiet_tensorflow import tf
        from training.train_tensorflow import load

        set_threads(tf, 1)  # the gate loads the result in this process, with one thread
        served = load(model_folder)
        saved = tf.Module()  # saved too, the wrappers that Keras puts around variables are all that TF Serving restores
        saved.weights = [variable.value for variable in served.network.variables]
        tf.saved_model.save(saved, str(version_folder), signatures={SIGNATURE: served.__call__})

    def load(self, version_folder: Path, threads: int = 1) -> LoadedModel:
        """Load the signature `serving_default`; threads are the process's, so the first model loaded sets them."""
        if not (version_folder / "saved_model.pb").is_file():
            raise StageError(f"no {shown(version_folder / 'saved_model.pb')}: run `make export`")
        from training.quiet_tensorflow import tf

        set_threads(tf, threads)
        try:
            loaded = tf.saved_model.load(str(version_folder))
        except AttributeError:  # an optimizer of Keras 2, whose class is gone: its slots can't be added to a stand-in
            return load_in_session(tf, version_folder)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise StageError(f"{shown(version_folder)} is no SavedModel that loads: {error}") from error
        if SIGNATURE not in loaded.signatures:
            raise StageError(
                f"{shown(version_folder)} has no signature {SIGNATURE}, only {', '.join(loaded.signatures) or 'none'}"
            )
        function = loaded.signatures[SIGNATURE]
        inputs = tuple(spec_of(tf, name, spec) for name, spec in function.structured_input_signature[1].items())
        outputs = tuple(spec_of(tf, name, spec) for name, spec in function.structured_outputs.items())

        def run(tensors: Tensors) -> dict[str, np.ndarray]:
            answers = function(**{name: tf.constant(array) for name, array in tensors.items()})
            return {name: np.asarray(answer.numpy()) for name, answer in answers.items()}

        run.keep = loaded  # type: ignore[attr-defined]  # the signature holds its variables only weakly
        return LoadedModel(inputs, outputs, run, changing_operation(function.graph.as_graph_def()))

    def serving_fault(self, version_folder: Path, request: Tensors) -> str:
        """TensorFlow Serving restores what the graph saves itself, without the objects that `load` rebuilds."""
        from training.quiet_tensorflow import tf

        try:
            load_in_session(tf, version_folder).run(request)
        except (OSError, ValueError, tf.errors.OpError) as error:
            words = str(error).removeprefix("Graph execution error:").strip()
            reason = words.partition("\n")[0].partition(". ")[0][:200]
            return (
                f"TensorFlow Serving can't run it ({reason}): variables that Keras 3 keeps to itself need "
                "`model.export(folder)`, or their `variable.value` as attributes of the tf.Module that is saved"
            )
        return ""


def set_threads(tf: Any, threads: int) -> None:
    """Set the process's intra-op threads; TensorFlow allows it until its first operation."""
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        had = tf.config.threading.get_intra_op_parallelism_threads()
        raise StageError(
            f"TensorFlow already runs with {had or 'all'} threads in this process, {threads} were asked for: "
            "load the model in a process of its own"
        ) from None


def load_in_session(tf: Any, version_folder: Path) -> LoadedModel:
    """Load the graph and its variables without the objects around them, as TF Serving does."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it calls this loader deprecated, which has no successor
    with graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(version_folder))
    if SIGNATURE not in meta.signature_def:
        raise StageError(f"{shown(version_folder)} has no signature {SIGNATURE}, only {', '.join(meta.signature_def)}")
    signature = meta.signature_def[SIGNATURE]
    ins = {name: graph.get_tensor_by_name(info.name) for name, info in sorted(signature.inputs.items())}
    outs = {name: graph.get_tensor_by_name(info.name) for name, info in sorted(signature.outputs.items())}

    def run(tensors: Tensors) -> dict[str, np.ndarray]:
        answers = session.run(outs, {ins[name]: array for name, array in tensors.items()})
        return {name: np.asarray(answer) for name, answer in answers.items()}

    inputs, outputs = (tuple(spec_of(tf, name, t) for name, t in side.items()) for side in (ins, outs))
    definition = graph.as_graph_def()
    needed = needed_by([tensor.op for tensor in outs.values()])
    return LoadedModel(inputs, outputs, run, changing_operation(definition, needed))


def needed_by(operations: list[Any]) -> set[str]:
    """The names of all operations of a graph that these need to run."""
    names: set[str] = set()
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation.name not in names:
            names.add(operation.name)
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return names


def changing_operation(graph: Any, needed: set[str] | None = None) -> str:
    """The first operation of a graph (its nodes `needed`), or of a function that it calls, that writes state."""
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    waiting = [node for node in graph.node if needed is None or node.name in needed]
    for node in waiting:  # grows as functions are met
        if WRITES.match(node.op):
            return str(node.op)
        for value in node.attr.values():
            for called in (value.func.name, *(function.name for function in value.list.func)):
                waiting += functions.pop(called, ())
    return ""


def spec_of(tf: Any, name: str, spec: Any) -> TensorSpec:
    """Describe a tensor of the signature."""
    datatype = "BYTES" if spec.dtype == tf.string else DATATYPE_OF.get(np.dtype(spec.dtype.as_numpy_dtype))
    if datatype is None or spec.shape.rank is None:
        raise StageError(f"{name!r} is {spec.dtype.name} {spec.shape}: the Open Inference Protocol can't carry it")
    return TensorSpec(name, datatype, tuple(-1 if size is None else size for size in spec.shape))


FORMAT = SavedModel()
