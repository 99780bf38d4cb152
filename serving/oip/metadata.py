"""What REST and gRPC say alike about the server and its models, and the parameters that both read."""

from __future__ import annotations

from typing import Any

from contract import TensorSpec
from serving.hosting.errors import RequestError
from serving.hosting.model_repository import ModelRepository

EXTENSIONS = ("binary_tensor_data", "model_repository")
PLATFORMS = {"onnx": "onnx_onnxv1", "savedmodel": "tensorflow_savedmodel", "torchscript": "pytorch_torchscript"}
"""The specification's names; a format that it doesn't know goes by its own."""
LONG_BYTES = 1 << 17
"""A request with so much to parse is read in a thread, and outputs of this size are encoded in one."""


def model_metadata(models: ModelRepository, name: str, version: str | None) -> dict[str, Any]:
    """A model's metadata; raises RequestError where there is no such model."""
    served = models.find(name, version)
    return {
        "name": name,
        "versions": models.versions(name),
        "platform": PLATFORMS.get(served.format, served.format),
        "inputs": [_described(spec) for spec in served.signature.inputs.values()],
        "outputs": [_described(spec) for spec in served.signature.outputs.values()],
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def timeout_s(microseconds: Any) -> float:
    """The parameter `timeout` in seconds; raises RequestError where it is no number of microseconds."""
    if type(microseconds) is not int or microseconds < 0:
        raise RequestError(400, f"the parameter timeout must be a number of microseconds, got: {microseconds!r}")
    return microseconds * 1e-6
