"""A model that a user brings takes the same road: checked against its samples, then served like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contract import Manifest, TensorSpec
from export.__main__ import main
from export.format import find_format
from export.model_files import replace_folder
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
    rows = np.arange(30).reshape(10, 3)
    np.savez(tmp_path / "samples.npz", **{"inputs/a": rows, "inputs/b": rows * 2, "expected/y": rows * 3})
    return tmp_path


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch) -> Path:
    """A folder of its own for the workspaces."""
    monkeypatch.setattr("contract.ARTIFACTS", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def take_in(folder: Path, *more: str, model: str = "sum.onnx", name: str = "my-sum") -> int:
    return main(["import", str(folder / model), "--name", name, "--samples", str(folder / "samples.npz"), *more])


def test_import_makes_a_workspace_that_the_next_stage_reads(brought, artifacts, capsys):
    assert take_in(brought, "--framework", "sklearn") == 0
    printed = capsys.readouterr().out
    assert "sklearn-onnx: onnx" in printed
    assert "batching proven: 10 different samples" in printed
    repository = artifacts / "my-sum" / "model_repository"
    manifest = read_artifacts(repository)["sklearn-onnx"]
    assert (manifest.framework, manifest.format, manifest.test_accuracy) == ("sklearn", "onnx", None)
    assert manifest.inputs == (TensorSpec("a", "INT64", (-1, 3)), TensorSpec("b", "INT64", (-1, 3)))
    samples = read_samples(repository)
    answer = find_format("onnx").load(repository / "sklearn-onnx" / "1").run(samples.take([4]))
    assert samples.fault(answer, "sklearn-onnx", [4]) == ""


def test_import_takes_several_files_of_one_model_into_one_workspace(brought, artifacts):
    assert take_in(brought) == 0
    assert take_in(brought, "--artifact", "custom-onnx-again") == 0
    repository = artifacts / "my-sum" / "model_repository"
    assert set(read_artifacts(repository)) == set(read_samples(repository).expected) == {
        "custom-onnx", "custom-onnx-again",
    }  # fmt: skip


def test_import_of_better_samples_replaces_the_artifact(brought, artifacts):
    assert take_in(brought) == 0
    with np.load(brought / "samples.npz") as file:
        arrays = {name: array[:4] for name, array in file.items()}
    np.savez(brought / "samples.npz", **arrays)
    assert take_in(brought) == 0
    assert len(read_samples(artifacts / "my-sum" / "model_repository")) == 4


def test_import_refuses_other_samples_beside_another_artifact(brought, artifacts, capsys):
    assert take_in(brought) == 0
    before = {path: path.read_bytes() for path in artifacts.rglob("*") if path.is_file()}
    arrays = {"inputs/a": np.ones((3, 3), int), "inputs/b": np.ones((3, 3), int), "expected/y": np.full((3, 3), 2)}
    np.savez(brought / "samples.npz", **arrays)
    assert take_in(brought, "--artifact", "other") == 2
    assert "has custom-onnx with other inputs (inputs/a, inputs/b)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in artifacts.rglob("*") if path.is_file()} == before


def test_workspaces_do_not_touch_each_other(brought, artifacts):
    assert take_in(brought) == 0
    before = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")}
    assert take_in(brought, name="another") == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in artifacts.rglob("*")}.items()
    assert {path.name for path in artifacts.iterdir()} == {"my-sum", "another"}


def test_export_of_the_twins_leaves_another_model_alone(brought, artifacts, capsys):
    assert take_in(brought) == 0
    repository = artifacts / "my-sum" / "model_repository"
    before = (repository / "samples.npz").read_bytes()
    assert main(["pytorch-torchscript", "--repository", str(repository)]) == 2
    assert "holds another model (custom-onnx)" in capsys.readouterr().err
    assert (repository / "samples.npz").read_bytes() == before
    assert sorted(path.name for path in repository.iterdir()) == ["custom-onnx", "samples.npz"]


def test_adopt_still_works_and_says_the_new_name(brought, capsys):
    repository = brought / "repository"
    words = ("--name", "my-sum", "--samples", str(brought / "samples.npz"), "--repository", str(repository))
    assert main(["adopt", str(brought / "sum.onnx"), *words]) == 0
    assert "is now `python -m export import … --name my-sum`" in capsys.readouterr().err
    assert set(read_artifacts(repository)) == {"my-sum"}


def test_import_refuses_a_model_that_answers_otherwise(brought, artifacts, capsys):
    with np.load(brought / "samples.npz") as file:
        arrays = dict(file)
    np.savez(brought / "samples.npz", **arrays | {"expected/y": arrays["expected/y"] + 1})
    assert take_in(brought) == 1
    words = "was not taken in: output 'y' of sample 0: largest difference 1.00e+00, allowed 0.00e+00; 10 of 10 samples"
    assert f"sum.onnx {words}" in capsys.readouterr().err
    assert not artifacts.exists(), "a failed import leaves nothing behind"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "My Model"}, "use lower-case letters, digits and hyphens"),
        ({"name": "mnist"}, "is taken by this project"),
        ({"model": "other.onnx"}, "no file"),
        ({"model": "samples.npz"}, "a model is a folder (SavedModel) or ends in .onnx, .tflite, .pt, .pth, .jit"),
    ],
)
def test_import_refuses_with_the_reason(brought, capsys, change, message):
    assert take_in(brought, **change) == 2
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
def test_import_refuses_samples_that_do_not_fit(brought, capsys, arrays, message):
    np.savez(brought / "samples.npz", **arrays)
    assert take_in(brought) == 2
    assert message in capsys.readouterr().err


def test_import_takes_the_other_formats(repository, brought, artifacts):
    samples = read_samples(repository)
    expected = samples.expected["tensorflow-tflite"]["probabilities"]
    arrays = {"inputs/image": samples.inputs["image"], "expected/probabilities": expected, "labels": samples.labels}
    np.savez(brought / "samples.npz", **arrays)
    shutil.copy(repository / "tensorflow-tflite" / "1" / "model.tflite", brought / "digits.tflite")
    assert take_in(brought, model="digits.tflite", name="digits") == 0
    manifest = Manifest.read(artifacts / "digits" / "model_repository" / "custom-tflite", "")
    assert manifest.format == "tflite"
    assert manifest.test_accuracy > 0.95


def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, write_onnx, capsys):
    (tmp_path / "taken").touch()
    monkeypatch.setattr("contract.ARTIFACTS", tmp_path / "taken")
    x = ("x", 1, ["n", 3])
    model = write_onnx(tmp_path / "m.onnx", [("Identity", ["x"], ["y"], {})], [x], [("y", *x[1:])])
    np.savez(tmp_path / "s.npz", **{"inputs/x": np.ones((2, 3), "f4"), "expected/y": np.ones((2, 3), "f4")})
    assert main(["import", str(model), "--name", "mine", "--samples", str(tmp_path / "s.npz")]) == 2
    assert capsys.readouterr().err.endswith("taken/mine/model_repository: Not a directory\n")


def test_artifact_stays_where_its_successor_cannot_be_moved_in(tmp_path):
    before, folder = tmp_path / "before-the-import", tmp_path / "temporary" / "artifact"
    before.mkdir()
    folder.parent.mkdir()
    with pytest.raises(FileNotFoundError):
        replace_folder(before, folder)
    assert before.is_dir()
