"""A model that a user brings takes the same road: checked against its samples, then served like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contract import Manifest
from export.__main__ import main
from export.format import find_format
from serving.repository import read_artifacts, read_samples


@pytest.fixture
def brought(tmp_path) -> Path:
    """A folder with an ONNX model of two inputs, y = a + b, and its samples."""
    from onnx import TensorProto, helper, save

    a, b, y = (helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 3]) for name in ("a", "b", "y"))
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "sum", [a, b], [y])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(tmp_path / "sum.onnx")
    )
    given = np.arange(30).reshape(10, 3)
    np.savez(tmp_path / "samples.npz", **{"inputs/a": given, "inputs/b": given * 2, "expected/y": given * 3})
    return tmp_path


def adopt(folder: Path, *more: str, model: str = "sum.onnx", name: str = "my-sum") -> int:
    options = ("--name", name, "--samples", str(folder / "samples.npz"), "--repository", str(folder / "repository"))
    return main(["adopt", str(folder / model), *options, *more])


def test_adopt_makes_an_artifact_that_the_next_stage_reads(brought, capsys):
    assert adopt(brought, "--framework", "scikit-learn") == 0
    assert "my-sum: onnx" in capsys.readouterr().out
    manifest = read_artifacts(brought / "repository")["my-sum"]
    assert (manifest.framework, manifest.format, manifest.test_accuracy) == ("scikit-learn", "onnx", None)
    assert [(s.name, s.datatype, s.shape) for s in manifest.inputs] == [
        ("a", "INT64", (-1, 3)),
        ("b", "INT64", (-1, 3)),
    ]
    samples = read_samples(brought / "repository")
    answer = find_format("onnx").load(brought / "repository" / "my-sum" / "1").run(samples.take([4]))
    assert np.array_equal(answer["y"], samples.expected["my-sum"]["y"][[4]])


def test_adopt_refuses_a_model_that_answers_otherwise(brought, capsys):
    with np.load(brought / "samples.npz") as file:
        arrays = dict(file)
    np.savez(brought / "samples.npz", **arrays | {"expected/y": arrays["expected/y"] + 1})
    assert adopt(brought) == 1
    assert "my-sum was not taken in: output 'y' of sample 0: largest difference 1.00e+00" in capsys.readouterr().err
    assert not list((brought / "repository").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "My Model"}, "use lower-case letters, digits and hyphens"),
        ({"name": "pytorch-onnx"}, "is what `make export` calls one of its own"),
        ({"model": "other.onnx"}, "no file"),
        ({"model": "samples.npz"}, "a model is a folder (SavedModel) or ends in .onnx, .tflite, .pt"),
    ],
)
def test_adopt_refuses_with_the_reason(brought, capsys, change, message):
    assert adopt(brought, **change) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones(3)}, "has no array inputs/<tensor>, only x"),
        ({"inputs/a": np.ones(3)}, "has no array expected/<tensor>"),
        ({"inputs/a": np.ones((3, 3)), "expected/y": np.ones((2, 3))}, "have to have the same number of samples"),
        ({"inputs/z": np.ones((3, 3)), "expected/y": np.ones((3, 3))}, "the model's inputs are ['a', 'b']"),
    ],
)
def test_adopt_refuses_samples_that_do_not_fit(brought, capsys, arrays, message):
    np.savez(brought / "samples.npz", **arrays)
    assert adopt(brought) == 2
    assert message in capsys.readouterr().err


def test_adopt_takes_the_other_formats(repository, brought):
    samples = read_samples(repository)
    expected = samples.expected["tensorflow-tflite"]["probabilities"]
    arrays = {"inputs/image": samples.inputs["image"], "expected/probabilities": expected, "labels": samples.labels}
    np.savez(brought / "samples.npz", **arrays)
    shutil.copy(repository / "tensorflow-tflite" / "1" / "model.tflite", brought / "digits.tflite")
    assert adopt(brought, model="digits.tflite", name="digits") == 0
    manifest = Manifest.read(brought / "repository" / "digits", "")
    assert manifest.format == "tflite"
    assert manifest.test_accuracy > 0.95
