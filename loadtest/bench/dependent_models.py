"""Ten models whose rows depend on each other, as ONNX, TFLite and SavedModel: what must never share a run.

Each takes `x`, FP32 [-1, 4], and gives `y`. They are imported as a user's own models are, with samples, so that the
proof of batching has its say. Writes a model repository; it imports TensorFlow, so it runs in a process of its own.

    python -m loadtest.bench.dependent_models FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 4
SAMPLES, SAMPLE_ROWS = 16, 3
OPSET = 17


@dataclass(frozen=True)
class DependentModel:
    """One function of a whole request, written twice."""

    name: str
    expected: Callable[[np.ndarray], np.ndarray]
    """In NumPy: what every answer is held to."""
    graph: Callable[[Any, Any], Any]
    """In TensorFlow, from the module and the input: what is served."""
    keeps_rows: bool = True
    """Whether an answer has as many rows as its request, so that nothing in the shapes speaks against joining."""


def _softmax(x: np.ndarray) -> np.ndarray:
    exponents = np.exp(x - x.max(axis=0))
    shares: np.ndarray = exponents / exponents.sum(axis=0)
    return shares


MODELS = (
    DependentModel("softmax", _softmax, lambda tf, x: tf.nn.softmax(x, axis=0)),
    DependentModel("centred", lambda x: x - x.mean(axis=0), lambda tf, x: x - tf.reduce_mean(x, axis=0)),
    DependentModel(
        "normalised",
        lambda x: x / np.sqrt((x * x).sum(axis=0)),
        lambda tf, x: x / tf.sqrt(tf.reduce_sum(x * x, axis=0)),
    ),
    DependentModel("running-sum", lambda x: x.cumsum(axis=0), lambda tf, x: tf.cumsum(x, axis=0)),
    DependentModel("below-largest", lambda x: x - x.max(axis=0), lambda tf, x: x - tf.reduce_max(x, axis=0)),
    DependentModel("reversed", lambda x: x[::-1], lambda tf, x: tf.reverse(x, [0])),
    DependentModel(
        "differences",
        lambda x: x - np.roll(x, 1, axis=0),
        lambda tf, x: x - tf.concat([x[-1:], x[:-1]], axis=0),
    ),
    DependentModel("attention", lambda x: _softmax(x @ x.T) @ x, lambda tf, x: tf.matmul(
        tf.nn.softmax(tf.matmul(x, tf.transpose(x)), axis=0), x)),
    DependentModel("weighted", lambda x: x * x.sum(axis=0), lambda tf, x: x * tf.reduce_sum(x, axis=0)),
    DependentModel(
        "filtered",
        lambda x: x[x[:, 0] > 0],
        lambda tf, x: tf.gather(x, tf.squeeze(tf.where(x[:, 0] > 0), axis=1)),
        keeps_rows=False,
    ),
)  # fmt: skip


def random_inputs(rows: int, random: np.random.Generator) -> np.ndarray:
    """The input of one request, FP32 [rows, 4]; two of three rows, at random places, pass the filter."""
    x = random.uniform(-2, 2, (rows, WIDTH)).astype(np.float32)
    passing = random.permutation(rows) < (rows + 1) * 2 // 3
    x[:, 0] = np.where(passing, 1, -1) * (0.1 + np.abs(x[:, 0]))
    return x


def write_samples(model: DependentModel, path: Path) -> None:
    """A whole tensor for each sample, and the answers to them."""
    random = np.random.default_rng(1)
    inputs = np.stack([random_inputs(SAMPLE_ROWS, random) for _ in range(SAMPLES)])
    arrays: dict[str, Any] = {"inputs/x": inputs, "expected/y": np.stack([model.expected(x) for x in inputs])}
    np.savez(path, **arrays)


def build(folder: Path, models: Sequence[DependentModel] = MODELS) -> None:
    """Write every model in every format into the model repository `folder`."""
    from export.formats.savedmodel import set_threads
    from export.import_model import ImportRequest, import_model
    from training.quiet_tensorflow import tf

    set_threads(tf, 1)  # as the import asks, before TensorFlow runs anything
    with tempfile.TemporaryDirectory() as temporary:
        for model in models:
            place = Path(temporary) / model.name
            place.mkdir()
            write_samples(model, place / "samples.npz")
            for format_name, path in _files(model, place, tf).items():
                artifact = f"{model.name}-{format_name}"
                import_model(ImportRequest(path, artifact, place / "samples.npz", "custom", folder))


def _files(model: DependentModel, place: Path, tf: Any) -> dict[str, Path]:
    """The model in its three formats."""
    import tf2onnx

    signature = (tf.TensorSpec([None, WIDTH], tf.float32, name="x"),)
    module = tf.Module()
    module.served = tf.function(lambda x: {"y": model.graph(tf, x)}, input_signature=signature)
    files = {"savedmodel": place / "saved", "tflite": place / "model.tflite", "onnx": place / "model.onnx"}
    tf.saved_model.save(module, str(files["savedmodel"]), signatures={"serving_default": module.served})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(files["savedmodel"]))
    files["tflite"].write_bytes(converter.convert())
    converted, _ = tf2onnx.convert.from_function(module.served, signature, opset=OPSET)
    if model.keeps_rows:  # the converter gives each free dimension a name of its own, as if none were the same
        for tensor in (*converted.graph.input, *converted.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    files["onnx"].write_bytes(converted.SerializeToString())
    return files


if __name__ == "__main__":
    build(Path(sys.argv[1]))
