"""Every format keeps its promises: the tensor contract, any batch, answers of its own memory, refusals by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from export.format import find_format, list_artifacts, list_formats

# Runs an artifact in a process of its own (a framework's threads and warnings stay there) and prints what it saw.
EXERCISE = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from export.format import find_format
from serving.repository import read_samples

warnings.simplefilter("error")
artifact, repository = sys.argv[1], Path(sys.argv[2])
samples = read_samples(repository)
model = find_format(artifact.split("-", 1)[1]).load(repository / artifact / "1", threads=1)
images, wanted = samples.inputs["image"], samples.expected[artifact]["probabilities"]
worst = {}
for size in (1, 2, 7, 64, 400, 3):
    body = images[:size].tobytes()  # as from a socket: the array below is read-only
    batch = np.frombuffer(body, np.float32).reshape(images[:size].shape)
    answers = model.run({"image": batch})
    worst[size] = float(np.abs(answers["probabilities"] - wanted[:size]).max())
first = model.run({"image": images[:1]})["probabilities"]
kept = first.copy()
model.run({"image": images[1:2]})
print(json.dumps({
    "inputs": [[s.name, s.datatype, list(s.shape)] for s in model.inputs],
    "outputs": [[s.name, s.datatype, list(s.shape)] for s in model.outputs],
    "worst": worst, "alias": not np.array_equal(first, kept),
}))
"""


@pytest.mark.parametrize("artifact", list_artifacts())
def test_artifact_runs_in_process(artifact, repository, run_python):
    if not (repository / artifact / "manifest.json").is_file():
        framework, format_name = artifact.split("-", 1)
        extra = find_format(format_name).missing_extra(framework)
        assert extra, f"{artifact} is not in the repository: run `make export`"
        pytest.skip(f"{artifact} needs the extra {extra}")
    seen = json.loads(run_python("-c", EXERCISE, artifact, repository).splitlines()[-1])
    assert seen["inputs"] == [["image", "FP32", [-1, 28, 28, 1]]]
    assert seen["outputs"] == [["probabilities", "FP32", [-1, 10]]]
    assert max(seen["worst"].values()) <= 1e-5
    assert not seen["alias"]


@pytest.mark.parametrize("name", list_formats())
def test_format_refuses_a_missing_file_by_name(name, tmp_path):
    with pytest.raises(StageError, match=f"no {tmp_path}.*run `make export`"):
        find_format(name).load(tmp_path)


@pytest.mark.parametrize(("name", "file"), [("onnx", "model.onnx"), ("tflite", "model.tflite")])
def test_format_refuses_a_damaged_file_by_name(name, file, tmp_path):
    (tmp_path / file).write_bytes(b"half of a model")
    with pytest.raises(StageError, match=f"{file} is no .* model that"):
        find_format(name).load(tmp_path)


def test_find_format_lists_what_there_is():
    with pytest.raises(StageError, match="no format 'caffe': choose from onnx, savedmodel, tflite, torchscript"):
        find_format("caffe")


def test_artifacts_are_the_valid_pairs():
    assert set(list_artifacts()) == {
        "tensorflow-savedmodel",
        "tensorflow-onnx",
        "tensorflow-tflite",
        "pytorch-torchscript",
        "pytorch-onnx",
        "pytorch-tflite",
    }


def identity_model(path: Path, element: int) -> None:
    from onnx import TensorProto, checker, helper, save

    assert element != TensorProto.UNDEFINED
    ends = [helper.make_tensor_value_info(name, element, ["n", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


ELEMENTS = {
    "BOOL": 9, "UINT8": 2, "UINT16": 4, "UINT32": 12, "UINT64": 13, "INT8": 3, "INT16": 5,
    "INT32": 6, "INT64": 7, "FP16": 10, "FP32": 1, "FP64": 11,
}  # fmt: skip


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_onnx_runs_every_datatype_of_the_protocol(datatype, tmp_path):
    identity_model(tmp_path / "model.onnx", ELEMENTS[datatype])
    model = find_format("onnx").load(tmp_path)
    assert [(s.name, s.datatype, s.shape) for s in model.inputs] == [("x", datatype, (-1, 2))]
    tensor = np.array([[0, 1], [1, 0], [1, 1]]).astype(model.inputs[0].dtype)
    answer = model.run({"x": tensor})["y"]
    assert answer.dtype == tensor.dtype
    assert np.array_equal(answer, tensor)


def test_onnx_runs_strings_as_bytes(tmp_path):
    identity_model(tmp_path / "model.onnx", 8)
    model = find_format("onnx").load(tmp_path)
    assert model.inputs[0].datatype == "BYTES"
    tensor = np.array([[b"plain", "häßlich".encode()]], np.object_)
    assert model.run({"x": tensor})["y"].tolist() == tensor.tolist()


def test_onnx_refuses_a_datatype_that_the_protocol_cannot_carry(tmp_path):
    identity_model(tmp_path / "model.onnx", 16)  # BFLOAT16
    with pytest.raises(StageError, match=r"'x' is tensor\(bfloat16\): the Open Inference Protocol can't carry it"):
        find_format("onnx").load(tmp_path)
