"""The manifest: what older files lack has a meaning, and what is written is read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from contract import ROOT, Batching, Manifest, TensorSpec, Tolerance, workspace_name

OLD = {
    "name": "old", "framework": "pytorch", "format": "onnx", "version": "1", "sha256": {}, "size_bytes": 0,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}  # fmt: skip


def write(folder: Path, fields: dict[str, object]) -> Manifest:
    (folder / "manifest.json").write_text(json.dumps(fields))
    return Manifest.read(folder, "make export")


def test_manifest_of_an_older_export_joins_no_requests_and_allows_1e_4(tmp_path):
    manifest = write(tmp_path, OLD)
    assert manifest.batching.verdict == "unknown"
    assert not manifest.batching.may_join
    assert manifest.tolerance_of("y").allowed == 1e-4
    assert manifest.inputs[0].dimensions == ()


def test_manifest_is_read_as_it_was_written(tmp_path):
    spec = TensorSpec("x", "FP32", (-1, 3), ("batch", ""))
    manifest = replace(
        write(tmp_path, OLD),
        inputs=(spec,),
        batching=Batching("proven", "12 samples"),
        tolerances={"y": Tolerance(1e-4, 1e-4, 250_000.0)},
    )
    manifest.write(tmp_path)
    read = Manifest.read(tmp_path, "make export")
    assert read == manifest
    assert read.inputs[0].dimensions == ("batch", "")
    assert read.tolerance_of("y").allowed == 25.0001


def test_batching_is_joined_where_it_was_proven_or_declared():
    assert [Batching(verdict).may_join for verdict in ("proven", "declared", "refused", "unknown")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mnist", "mnist"),
        ("my-model", "my-model"),
        ("examples/resnet50", "resnet50"),
        ("models/My Model.onnx", "my-model"),
    ],
)
def test_workspace_has_the_name_of_the_model(model, name):
    assert workspace_name(model) == name


def test_make_never_trains_the_twins_for_another_model():
    for target in ("export", "compare", "loadtest", "loadtest-onnxruntime", "slo", "conformance", "images"):
        words = ("make", "--dry-run", "--always-make", "-o", "install", target, "MODEL=mine", "VENV=.venv")
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "training" not in done.stdout, target
        assert "-m export" in done.stdout


def test_export_of_another_model_names_the_way_in(tmp_path):
    environ = {**os.environ, "MODEL": "mine", "ARTIFACTS_DIR": str(tmp_path)}
    done = subprocess.run(
        (sys.executable, "-m", "export"), cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"no artifact in {tmp_path}/mine/model_repository: run `python -m export import MODEL_FILE" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("verdict", "rows"), [("proven", 32), ("declared", 100), ("refused", 1), ("unknown", 1)])
def test_no_more_rows_are_joined_than_were_proven(verdict, rows):
    assert Batching(verdict).rows_of(100) == rows
    assert Batching(verdict).rows_of(1) == 1
