"""The handler in TorchServe's worker: what modules may return, when requests share a run, and what is no JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("ts", reason="needs the extra torchserve")
# Hands requests to the handler as TorchServe does; prints the answers, their statuses, and the batches that were run.
HANDLE = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from serving.servers.torchserve.handler import TensorHandler

class Named(torch.nn.Module):
    def forward(self, x):
        return {"q": x.sum(1), "p": torch.log(x)}

class Context:
    def __init__(self, folder):
        self.system_properties, self.statuses, self.manifest = {"model_dir": folder}, {}, {"model": {"modelName": "m"}}
    def get_all_request_header(self, index):
        return {"Host": "here", "Content-Type": "application/json"}
    def set_response_status(self, code, phrase, idx):
        self.statuses[idx] = code
    def set_response_content_type(self, index, kind):
        pass

folder, verdict, inputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.jit.script(Named().eval()).save(folder + "/model.pt")
spec = lambda name, shape: {"name": name, "datatype": "FP32", "shape": shape}
manifest = {"inputs": [spec("x", [-1, 2])], "outputs": [spec("p", [-1, 2]), spec("q", [-1])]}
Path(folder, "manifest.json").write_text(json.dumps(manifest | {"batching": {"verdict": verdict}}))
np.savez(folder + "/warmup.npz", x=np.ones((1, 2), np.float32))
handler, context, rows = TensorHandler(), Context(folder), []
run = TensorHandler._run
TensorHandler._run = lambda self, arrays: rows.append(len(arrays[0])) or run(self, arrays)
handler.initialize(context)
answers = handler.handle([{"body": {"inputs": {"x": x}}} for x in inputs], context)
print(json.dumps([answers, context.statuses, rows]))
"""
E = 2.718281828459045


def handle(run_python, folder: Path, verdict: str, *inputs: list[list[float]]) -> tuple[list[dict], dict, list[int]]:
    (folder / "handle.py").write_text(HANDLE)  # TorchScript reads the source of its modules
    printed = run_python("-W", "ignore", folder / "handle.py", folder, verdict, json.dumps(inputs))
    answers, statuses, rows = json.loads(printed)
    return [json.loads(answer, parse_constant=pytest.fail) for answer in answers], statuses, rows


def test_module_may_return_a_dict(run_python, tmp_path):
    (answer,), statuses, _ = handle(run_python, tmp_path, "proven", [[1, E]])
    assert answer["outputs"]["p"][0] == pytest.approx([0, 1])
    assert answer["outputs"]["q"] == pytest.approx([1 + E])
    assert not statuses


def test_answer_that_json_cannot_hold_is_refused_alone(run_python, tmp_path):
    (right, wrong), statuses, _ = handle(run_python, tmp_path, "proven", [[1, E]], [[0, -1]])
    assert "outputs" in right
    assert statuses == {"1": 400}
    assert wrong["error"] == "an output has NaN or Infinity, which JSON can't hold: ask for raw tensors"


@pytest.mark.parametrize(("verdict", "rows"), [("proven", [1, 3]), ("refused", [1, 2]), ("unknown", [1, 2])])
def test_requests_share_a_run_only_where_rows_are_proven_independent(verdict, rows, run_python, tmp_path):
    _, _, batches = handle(run_python, tmp_path, verdict, [[1, E]], [[1, 1], [2, 2]])
    assert batches == rows  # the first of a proven model is the warm-up; others are never run but for requests
