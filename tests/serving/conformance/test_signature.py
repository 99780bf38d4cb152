"""What the suite sends: samples of the repository in the shapes that the model declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract import Batching, Manifest, TensorSpec
from serving.conformance.case import NotApplicable
from serving.conformance.cases.oip_grpc_infer import typed_size
from serving.conformance.cases.oip_rest_infer import flat_is_nested
from serving.conformance.signature import find_subject

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def repository(folder: Path, shape: tuple[int, ...], verdict: str) -> Path:
    """A repository with samples of one model `m`, whose output is its input."""
    x = TensorSpec("x", "FP32", shape)
    manifest = Manifest(
        "m", "pytorch", "onnx", "1", (x,), (replace(x, name="y"),), {}, 0, batching=Batching(verdict, "")
    )
    manifest.write(folder / "m")
    samples = ROWS[:, 0] if not shape else ROWS
    np.savez(folder / "samples.npz", **{"inputs/x": samples, "expected/m/y": samples})
    return folder


@pytest.mark.parametrize(
    ("shape", "verdict", "sent"),
    [
        ((), "refused", ()),
        ((-1, 4), "proven", (2, 4)),
        ((-1, 4), "refused", (1, 4)),  # two samples in one request would be another question
        ((1, 4), "refused", (1, 4)),
        ((3, 4), "refused", (3, 4)),
    ],
)
def test_samples_are_sent_in_the_shape_of_the_model(
    tmp_path: Path, shape: tuple[int, ...], verdict: str, sent: tuple[int, ...]
) -> None:
    subject = find_subject("oip-rest", "nowhere:1", "", "m", repository(tmp_path, shape, verdict))
    assert subject.inputs["x"].shape == sent
    assert subject.sample(2)["x"].shape == sent
    assert subject.expected is not None
    assert np.array_equal(subject.expected["y"], subject.inputs["x"])


def test_scalars_leave_out_what_they_have_no_place_for(tmp_path: Path) -> None:
    subject = find_subject("oip-rest", "nowhere:1", "nowhere:1", "m", repository(tmp_path, (), "refused"))
    for case in (flat_is_nested, typed_size):
        with pytest.raises(NotApplicable, match="is a scalar"):
            case(subject)
