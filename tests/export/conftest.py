"""The repository that the export wrote, and little ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import MODEL_REPOSITORY, Manifest

Node = tuple[str, list[str], list[str], dict[str, Any]]
"""Operator, inputs, outputs, attributes."""
Tensor = tuple[str, int, Sequence[Any] | None]
"""Name, element type, shape."""


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository that `make export` wrote."""
    Manifest.read(MODEL_REPOSITORY / "pytorch-onnx", "make export")
    return MODEL_REPOSITORY


@pytest.fixture(scope="session", name="write_onnx")
def _write_onnx() -> Callable[..., Path]:
    """Hand `write_onnx` to tests: there is no importing of a conftest."""
    return write_onnx


def write_onnx(
    path: Path,
    nodes: Sequence[Node],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    constants: Sequence[tuple[str, int, list[Any]]] = (),
) -> Path:
    """Write an ONNX model to `path`."""
    from onnx import helper, numpy_helper, save
    from onnx.helper import tensor_dtype_to_np_dtype as dtype_of

    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes],
        "model",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(np.array(values, dtype_of(kind)), name) for name, kind, values in constants],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
