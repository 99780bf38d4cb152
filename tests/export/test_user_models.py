"""What users bring: each kind of model comes in, or is refused in words that name its file and the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T

from contract import Manifest
from export.__main__ import main
from serving.repository import Samples, read_samples

ROWS = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
NAMES = np.array([["zürich"], ["10"], ["日本"], ["a"]])
X, Y = ("x", T.FLOAT, ["n", 3]), ("y", T.FLOAT, ["n", 3])
INF = float("inf")


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch) -> Path:
    """A folder of its own for the workspaces."""
    monkeypatch.setattr("contract.ARTIFACTS", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def bring(model: Path, arrays: dict[str, np.ndarray], *options: str) -> int:
    """Import a model with these arrays as its samples, under the name `mine`."""
    samples = model.parent / "samples.npz"
    np.savez(samples, **arrays)
    return main(["import", str(model), "--name", "mine", "--samples", str(samples), *options])


def taken_in(artifacts: Path) -> tuple[Manifest, Samples]:
    repository = artifacts / "mine" / "model_repository"
    return Manifest.read(repository / "custom-onnx", ""), read_samples(repository)


def identity(element: int, shape=("n", 3)):
    return [("Identity", ["x"], ["y"], {})], [("x", element, shape)], [("y", element, shape)]


CASES = {
    "fixed batch": (identity(T.FLOAT, [1, 3]), ROWS, ROWS, "refused"),
    "scalar in and out": (identity(T.FLOAT, []), ROWS[:, 0], ROWS[:, 0], "refused"),
    "whole tensors": (identity(T.FLOAT, [2, "n", 3]), ROWS.reshape(6, 2, 1, 3), ROWS.reshape(6, 2, 1, 3), "refused"),
    "booleans": (identity(T.BOOL), ROWS > 0, ROWS > 0, "proven"),
    "uint8": (identity(T.UINT8), np.arange(36, dtype=np.uint8).reshape(12, 3),
              np.arange(36, dtype=np.uint8).reshape(12, 3), "proven"),
    "int64 beyond 2^53": (identity(T.INT64), 2**53 + np.arange(36).reshape(12, 3),
                          2**53 + np.arange(36).reshape(12, 3), "proven"),
    "fp16": (identity(T.FLOAT16), ROWS.astype(np.float16), ROWS.astype(np.float16), "proven"),
    "str": (identity(T.STRING, ["n", 1]), NAMES, NAMES, "proven"),
    "objects": (identity(T.STRING, ["n", 1]), NAMES.astype(object), NAMES.astype(object), "proven"),
    "bytes": (identity(T.STRING, ["n", 1]), np.char.encode(NAMES, "utf-8"), np.char.encode(NAMES, "utf-8"), "proven"),
    "doubles for floats": (identity(T.FLOAT), ROWS.astype(float), ROWS.astype(float), "proven"),
    "whole doubles for uint8": (identity(T.UINT8), np.arange(36.0).reshape(12, 3), np.arange(36.0).reshape(12, 3),
                                "proven"),
    "int32 for int64": (identity(T.INT64), np.arange(36, dtype=np.int32).reshape(12, 3),
                        np.arange(36, dtype=np.int32).reshape(12, 3), "proven"),
    "infinities": (([("Log", ["x"], ["y"], {})], [X], [Y]), np.abs(np.floor(ROWS)),
                   np.log(np.abs(np.floor(ROWS)), where=np.floor(ROWS) != 0, out=np.full_like(ROWS, -INF)), "proven"),
    "not a number": (([("Log", ["x"], ["y"], {})], [X], [Y]), ROWS,
                     np.log(ROWS, where=ROWS > 0, out=np.full_like(ROWS, np.nan)), "proven"),
    "prices": (identity(T.FLOAT), ROWS * 1e5, ROWS * np.float32(1e5) * (1 + 2e-7), "proven"),
}  # fmt: skip


@pytest.mark.parametrize("title", CASES)
def test_model_comes_in_and_its_samples_are_answered(title, tmp_path, artifacts, write_onnx):
    parts, inputs, expected, verdict = CASES[title]
    assert bring(write_onnx(tmp_path / "m.onnx", *parts), {"inputs/x": inputs, "expected/y": expected}) == 0
    manifest, samples = taken_in(artifacts)
    assert manifest.batching.verdict == verdict, manifest.batching.reason
    assert samples.take([0])["x"].dtype == manifest.inputs[0].dtype
    assert samples.take([0])["x"].ndim == len(manifest.inputs[0].shape)
    assert samples.distinct("custom-onnx") > 1


REFUSED = {
    "float for uint8": (identity(T.UINT8), ROWS, ROWS, "inputs/x has datatype FP32: its values change as UINT8"),
    "doubles beyond floats": (identity(T.FLOAT), ROWS.astype(float) * 1e300, ROWS,
                              "inputs/x has datatype FP64: its values change"),
    "strings for floats": (identity(T.FLOAT, ["n", 1]), NAMES, NAMES, "datatype BYTES: the model's tensor is FP32"),
    "another width": (identity(T.FLOAT), ROWS[:, :2], ROWS, "inputs/x has shape [12, 2], "),
    "another rank": (identity(T.FLOAT), ROWS[:, 0], ROWS, "takes [-1, 3]"),
    "a fixed batch of four": (identity(T.FLOAT, [4, 3]), ROWS, ROWS,
                              "give each sample as a whole tensor, inputs/x of shape [samples, 4, 3], not [12, 3]"),
    "complex numbers": (identity(T.FLOAT), ROWS.astype(np.complex64), ROWS, "inputs/x is complex64"),
    "no samples": (identity(T.FLOAT), ROWS[:0], ROWS[:0], "the same number of samples in their first dimension"),
    "a failing sample": (([("Reshape", ["x", "to"], ["y"], {})], [X], [("y", T.FLOAT, [None])], [("to", T.INT64, [2])]),
                         ROWS, ROWS[:, 0], "m.onnx: sample 0 can't be run: Fail: "),
    "an output of another shape": (identity(T.FLOAT), ROWS, ROWS[:, :2], "of shape [12, 3], expected [12, 2]"),
    "a ZipMap": (
        ([("ZipMap", ["x"], ["y"], {"domain": "ai.onnx.ml", "classlabels_int64s": [0, 1, 2]})], [X], []), ROWS, ROWS,
        "a ZipMap: convert the model with options={'zipmap': False}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", REFUSED)
def test_model_is_refused_in_words(title, tmp_path, artifacts, write_onnx, capsys):
    parts, inputs, expected, words = REFUSED[title]
    path = tmp_path / "m.onnx"
    if title == "a ZipMap":
        write_zipmap(path)
    else:
        write_onnx(path, *parts)
    assert bring(path, {"inputs/x": inputs, "expected/y": expected}) == 2
    message = capsys.readouterr().err
    assert words in message
    assert "make export" not in message
    assert "/." not in message, "a folder that is gone"
    assert not artifacts.exists()


def write_zipmap(path: Path) -> None:
    from onnx import helper, save

    table = helper.make_map_type_proto(T.INT64, helper.make_tensor_type_proto(T.FLOAT, []))
    output = helper.make_value_info("y", helper.make_sequence_type_proto(table))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    graph = helper.make_graph([node], "zip", [helper.make_tensor_value_info(*X)], [output])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))


def test_several_inputs_of_every_kind_run_sample_by_sample(tmp_path, artifacts, write_onnx):
    """As silero-vad: a row, a state whose batch is not first, and a scalar."""
    nodes = [("Mul", ["x", "rate"], ["r"], {}), ("ReduceSum", ["state", "axes"], ["s"], {"keepdims": 0}),
             ("Add", ["r", "s"], ["y"], {}), ("Identity", ["state"], ["next"], {})]  # fmt: skip
    inputs = [X, ("state", T.FLOAT, [2, "n", 3]), ("rate", T.FLOAT, [])]
    outputs = [Y, ("next", T.FLOAT, [2, "n", 3])]
    path = write_onnx(tmp_path / "m.onnx", nodes, inputs, outputs, [("axes", T.INT64, [0])])
    states, rates = ROWS.reshape(6, 2, 1, 3), np.arange(1, 7, dtype=np.float32)
    y = ROWS[:6] * rates[:, None] + states.sum(axis=1)[:, 0]
    arrays = {
        "inputs/x": ROWS[:6],
        "inputs/state": states,
        "inputs/rate": rates,
        "expected/y": y,
        "expected/next": states,
    }
    assert bring(path, arrays) == 0
    manifest, samples = taken_in(artifacts)
    assert manifest.batching.verdict == "refused"
    assert {name: array.shape for name, array in samples.take([1]).items()} == {
        "x": (1, 3), "state": (2, 1, 3), "rate": (),
    }  # fmt: skip


@pytest.mark.parametrize(("options", "status"), [((), 1), (("--tolerance", "2e-3"), 0)])
def test_tolerance_is_the_users_to_set(options, status, tmp_path, write_onnx, capsys):
    path = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    assert bring(path, {"inputs/x": ROWS, "expected/y": ROWS + np.float32(1e-3)}, *options) == status
    if status:
        assert "output 'y' of sample " in capsys.readouterr().err


def test_batching_may_be_declared_where_the_samples_cannot_show_it(tmp_path, artifacts, write_onnx):
    path = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    assert bring(path, {"inputs/x": ROWS[:1], "expected/y": ROWS[:1]}, "--declare-batching") == 0
    batching = taken_in(artifacts)[0].batching
    assert (batching.verdict, batching.may_join) == ("declared", True)
    assert "the proof said unknown: fewer than two different samples" in batching.reason


def test_weights_beside_the_model_come_along(tmp_path, artifacts, write_onnx):
    from onnx import load, save_model

    nodes = [("Add", ["x", "w"], ["y"], {})]
    path = write_onnx(tmp_path / "plain.onnx", nodes, [X], [Y], [("w", T.FLOAT, [1.0, 2.0, 3.0])])
    apart = {"save_as_external_data": True, "location": "weights/m.data", "size_threshold": 0}
    (tmp_path / "weights").mkdir()
    save_model(load(str(path)), str(tmp_path / "m.onnx"), **apart)
    arrays = {"inputs/x": ROWS, "expected/y": ROWS + np.float32([1, 2, 3])}
    assert bring(tmp_path / "m.onnx", arrays) == 0
    assert set(taken_in(artifacts)[0].sha256) == {"1/model.onnx", "1/weights/m.data"}


def test_weights_that_are_missing_are_named(tmp_path, write_onnx, capsys):
    from onnx import load, save_model

    path = write_onnx(
        tmp_path / "m.onnx", [("Add", ["x", "w"], ["y"], {})], [X], [Y], [("w", T.FLOAT, [1.0, 2.0, 3.0])]
    )
    save_model(load(str(path)), str(path), save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    assert bring(path, {"inputs/x": ROWS, "expected/y": ROWS}) == 2
    assert "m.onnx has weights in m.data, which is not beside it: give both files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.keras", "is a Keras file: save it as a SavedModel"),
        ("m.pt2", "is a program of torch.export: write it as ONNX"),
        ("m.bin", "a model is a folder (SavedModel) or ends in .onnx, .tflite, .pt, .pth, .jit"),
        ("m.onnx", "m.onnx is no ONNX model"),
        ("m.tflite", "m.tflite is no TFLite model that loads"),
        ("folder", "has no saved_model.pb, nor has a version folder in it"),
    ],
)
def test_file_of_another_kind_is_named(name, words, tmp_path, capsys):
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"something else")
    assert bring(path, {"inputs/x": ROWS, "expected/y": ROWS}) == 2
    assert words in capsys.readouterr().err


def test_samples_that_would_run_code_are_refused(tmp_path, write_onnx, capsys):
    class Code:
        def __reduce__(self):
            return (print, ("this ran",))

    path = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    assert bring(path, {"inputs/x": np.array([Code()], object), "expected/y": ROWS[:1]}) == 2
    printed = capsys.readouterr()
    assert "an array holds a builtins.print" in printed.err
    assert "this ran" not in printed.out


def test_model_that_is_right_alone_only_is_run_one_by_one(tmp_path, artifacts, write_onnx):
    """Its rows depend on each other in batches of 10 to 19 rows, which the proof does not run."""
    nodes = [
        ("Shape", ["x"], ["rows"], {"end": 1}),
        ("Greater", ["rows", "nine"], ["many"], {}),
        ("Less", ["rows", "twenty"], ["few"], {}),
        ("And", ["many", "few"], ["mixes"], {}),
        ("Cast", ["mixes"], ["factor"], {"to": T.FLOAT}),
        ("ReduceMean", ["x", "axes"], ["mean"], {"keepdims": 1}),
        ("Mul", ["mean", "factor"], ["shift"], {}),
        ("Sub", ["x", "shift"], ["y"], {}),
    ]
    constants = [("nine", T.INT64, [9]), ("twenty", T.INT64, [20]), ("axes", T.INT64, [0])]
    model = write_onnx(tmp_path / "m.onnx", nodes, [X], [Y], constants)
    assert bring(model, {"inputs/x": ROWS, "expected/y": ROWS}) == 0
    batching = taken_in(artifacts)[0].batching
    assert batching.verdict == "refused"
    assert batching.reason.startswith("in batches of up to 64 samples: output 'y' of sample ")


@pytest.mark.parametrize("tolerance", ["nan", "inf", "-1"])
def test_tolerance_that_lets_everything_pass_or_nothing_is_refused(tolerance, tmp_path, artifacts, write_onnx, capsys):
    model = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    with pytest.raises(SystemExit, match="2"):
        bring(model, {"inputs/x": ROWS, "expected/y": ROWS + 9}, f"--tolerance={tolerance}")
    assert f"--tolerance: {tolerance} must be a number from 0 on, and finite" in capsys.readouterr().err
    assert not artifacts.exists()


@pytest.mark.parametrize("labels", [np.zeros((12, 2), np.int64), np.array(["a"] * 12), np.zeros(12)])
def test_labels_that_are_no_whole_numbers_are_refused(labels, tmp_path, write_onnx, capsys):
    model = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    assert bring(model, {"inputs/x": ROWS, "expected/y": ROWS, "labels": labels}) == 2
    assert "labels have to be one whole number a sample, not " in capsys.readouterr().err


def test_unknown_tensor_of_the_samples_is_named(tmp_path, write_onnx, capsys):
    model = write_onnx(tmp_path / "m.onnx", *identity(T.FLOAT))
    assert bring(model, {"inputs/z": ROWS, "expected/y": ROWS}) == 2
    assert "the model's inputs are ['x'], the samples have ['z']" in capsys.readouterr().err
