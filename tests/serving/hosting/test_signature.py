"""What a server reads from a manifest: what the export has proved is what it does."""

from __future__ import annotations

import pytest

from contract import TensorSpec
from serving.hosting.signature import Signature
from serving.repository import read_artifacts


def test_every_proven_artifact_is_joined() -> None:
    proven = {name: manifest for name, manifest in read_artifacts().items() if manifest.batching.may_join}
    assert {"pytorch-onnx", "tensorflow-onnx", "tensorflow-tflite"} <= set(proven)
    for name, manifest in proven.items():
        assert Signature(manifest.inputs, manifest.outputs, may_join=True).joins, name


@pytest.mark.parametrize(("shape", "may_join"), [((-1, 3), False), ((2, 3), True), ((), True)])
def test_nothing_is_joined_without_proof_or_a_free_first_dimension(shape: tuple[int, ...], may_join: bool) -> None:
    spec = TensorSpec("x", "FP32", shape)
    assert not Signature((spec,), (spec,), may_join).joins
