"""The proof that rows are independent: it passes where they are, and says why not where they aren't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from contract import Batching, TensorSpec
from export.batching import prove_batching
from export.format import LoadedModel, find_format

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ROWS = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)


@pytest.fixture
def onnx_model(write_onnx):
    """Write `model.onnx` into a folder, and return that."""
    return lambda folder, *parts: write_onnx(folder / "model.onnx", *parts).parent


def proof(folder: Path, samples=None, format_name: str = "onnx") -> Batching:
    return prove_batching(find_format(format_name).load(folder), samples or {"x": ROWS}, "m")


X, Y = ("x", FLOAT, ["n", 3]), ("y", FLOAT, ["n", 3])
AXIS_0 = ("axes", INT64, [0])
MIXING = {
    "softmax over rows": ([("Softmax", ["x"], ["y"], {"axis": 0})], ()),
    "sum of rows before": ([("CumSum", ["x", "zero"], ["y"], {})], [("zero", INT64, [0])]),
    "minus the batch's mean": (
        [("ReduceMean", ["x", "axes"], ["m"], {"keepdims": 1}), ("Sub", ["x", "m"], ["y"], {})], [AXIS_0],
    ),
    "sorted rows": ([("TopK", ["x", "one"], ["v", "i"], {"axis": 1}), ("Shape", ["x"], ["s"], {"end": 1}),
                     ("TopK", ["x", "s"], ["y", "j"], {"axis": 0})], [("one", INT64, [1])]),
    "a small column beside millions": (
        [("ReduceMean", ["x", "axes"], ["m"], {"keepdims": 1}), ("Sub", ["x", "m"], ["d"], {}),
         ("Mul", ["d", "small"], ["a"], {}), ("Mul", ["x", "large"], ["b"], {}), ("Add", ["a", "b"], ["y"], {})],
        [AXIS_0, ("small", FLOAT, [0, 1, 1]), ("large", FLOAT, [1e6, 0, 0])],
    ),
    "neighbours' maximum": (
        [("ReduceMax", ["x", "axes"], ["m"], {"keepdims": 1}), ("Max", ["x", "m"], ["y"], {})], [AXIS_0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", MIXING)
def test_batching_is_refused_where_a_row_depends_on_others(title, tmp_path, onnx_model):
    nodes, constants = MIXING[title]
    batching = proof(onnx_model(tmp_path, nodes, [X], [Y], constants))
    assert batching.verdict == "refused"
    assert "output 'y' of a row depends on the rows beside it" in batching.reason


def test_batching_is_proven_where_rows_are_independent(tmp_path, onnx_model):
    batching = proof(onnx_model(tmp_path, [("Softmax", ["x"], ["y"], {"axis": 1})], [X], [Y]))
    assert batching == Batching("proven", "12 different samples, alone and in batches of 2, 3, 7, 32 in several orders")


def test_batching_is_refused_where_the_number_of_rows_is_the_models_own(tmp_path, onnx_model):
    nodes = [("NonZero", ["x"], ["t"], {}), ("Transpose", ["t"], ["y"], {})]
    batching = proof(onnx_model(tmp_path, nodes, [("x", FLOAT, [None, 3])], [("y", INT64, [None, 2])]))
    assert batching == Batching("refused", "1 rows are answered with output 'y' of shape [3, 2]")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([("x", FLOAT, ["tokens", 3]), ("b", FLOAT, ["queries", 3])], "('queries' of 'b', 'tokens' of "),
        ([("x", FLOAT, [1, 3]), ("b", FLOAT, ["n", 3])], "input 'x' has shape [1, 3], whose first"),
        ([("x", FLOAT, ["n", 3]), ("b", FLOAT, [])], "input 'b' has shape [], whose first dimension is not free"),
    ],
)  # fmt: skip
def test_batching_is_refused_without_a_shared_first_dimension(inputs, reason, tmp_path, onnx_model):
    folder = onnx_model(tmp_path, [("Add", ["x", "b"], ["y"], {})], inputs, [("y", FLOAT, [None, 3])])
    batching = proof(folder, {"x": ROWS, "b": ROWS})
    assert batching.verdict == "refused"
    assert reason in batching.reason


def test_batching_is_refused_where_only_a_batch_of_one_runs():
    def run(tensors):
        if len(tensors["x"]) > 1:
            raise RuntimeError("cannot reshape 2 rows to [1,3]\nin node Reshape_1")
        return {"y": tensors["x"]}

    spec = TensorSpec("x", "FP32", (-1, 3))
    batching = prove_batching(LoadedModel((spec,), (replace(spec, name="y"),), run), {"x": ROWS}, "m")
    assert batching.reason == "a batch of 2 can't be run: RuntimeError: cannot reshape 2 rows to [1,3]"


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (ROWS[:1], "fewer than two different samples"),
        (np.repeat(ROWS[:1], 5, axis=0), "fewer than two different samples"),
        (np.abs(ROWS) + 1, "all samples have the same answer in output 'y'"),
    ],
)
def test_batching_is_unknown_where_the_samples_show_nothing(samples, reason, tmp_path, onnx_model):
    batching = proof(onnx_model(tmp_path, [("Sign", ["x"], ["y"], {})], [X], [Y]), {"x": samples})
    assert batching.verdict == "unknown"
    assert reason in batching.reason


# Each prints the verdict of a model that keeps state, and whether the proof left that state alone.
STATEFUL = {
    "tensorflow": """
class Online(tf.Module):
    def __init__(self):
        self.seen = tf.Variable(0.0)
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": x + self.seen.assign_add(1.0)}
online = Online()
tf.saved_model.save(online, folder, signatures={"serving_default": online.__call__})
""",
    "pytorch": """
class Online(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
    def forward(self, x):
        self.seen += 1
        return x + self.seen
torch.jit.script(Online().eval()).save(folder + "/model.pt")
spec = TensorSpec("x", "FP32", (-1, 3))
write_signature(Path(folder), (spec,), (TensorSpec("y", "FP32", (-1, 3)),))
""",
}
SHOW = """
import json, sys
from pathlib import Path
import numpy as np
from contract import TensorSpec
from export.batching import prove_batching
from export.format import LoadedModel, find_format
from export.formats.torchscript import write_signature
if sys.argv[2] == "savedmodel":
    from export.formats.savedmodel import set_threads
    from training.quiet_tensorflow import tf
    set_threads(tf, 1)
else:
    import torch
folder = sys.argv[1]
{make}
model = find_format(sys.argv[2]).load(Path(folder))
x = np.arange(12, dtype=np.float32).reshape(4, 3)
batching = prove_batching(model, {{"x": x}}, "m")
print(json.dumps([batching.verdict, batching.reason, (model.run({{"x": x[:1]}})["y"] - x[:1]).max().item()]))
"""


@pytest.mark.parametrize(("framework", "format_name"), [("tensorflow", "savedmodel"), ("pytorch", "torchscript")])
def test_model_with_state_is_never_run_for_the_proof(framework, format_name, tmp_path, run_python):
    script = tmp_path / "show.py"
    script.write_text(SHOW.format(make=STATEFUL[framework]))
    verdict, reason, added = json.loads(run_python("-W", "ignore", script, tmp_path, format_name).splitlines()[-1])
    assert verdict == "refused"
    assert "a run may change the model" in reason
    assert added == 1.0, "the first request found the state changed"


@pytest.mark.parametrize(("axis", "verdict"), [(1, "proven"), (0, "refused")])
def test_samples_of_several_rows_are_joined_as_a_server_joins_requests(axis, verdict, tmp_path, onnx_model):
    folder = onnx_model(tmp_path, [("Softmax", ["x"], ["y"], {"axis": axis})], [X], [Y])
    assert proof(folder, {"x": ROWS.reshape(4, 3, 3)}).verdict == verdict


def test_batching_is_refused_where_rows_are_pieces_of_another_length_by_chance(tmp_path, onnx_model):
    """Pieces of four: a row as long as the samples is a piece, of shorter rows two make one."""
    nodes = [
        ("Shape", ["x"], ["shape"], {}), ("Reshape", ["x", "pieces"], ["r"], {}),
        ("Softmax", ["r"], ["p"], {"axis": 1}), ("Reshape", ["p", "shape"], ["y"], {}),
    ]  # fmt: skip
    ends = [("x", FLOAT, ["n", "m"])], [("y", FLOAT, ["n", "m"])]
    folder = onnx_model(tmp_path, nodes, *ends, [("pieces", INT64, [-1, 4])])
    batching = proof(folder, {"x": ROWS.reshape(9, 4)})
    assert batching == Batching(
        "refused", "with half of dimension 'm': requests that the model refuses alone are answered together"
    )


def test_batching_is_proven_where_another_dimension_is_free_too(tmp_path, onnx_model):
    ends = [("x", FLOAT, ["n", "m"])], [("y", FLOAT, ["n", "m"])]
    folder = onnx_model(tmp_path, [("Softmax", ["x"], ["y"], {"axis": 1})], *ends)
    assert proof(folder, {"x": ROWS.reshape(9, 4)}).verdict == "proven"
