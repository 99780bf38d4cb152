"""Finds out what a server's model takes and gives: from the model repository, else from the server's own metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contract import MODEL_REPOSITORY, Manifest, StageError, TensorSpec
from export.samples import take
from serving.conformance.exchange import Reply, ask, call
from serving.conformance.subject import Subject
from serving.protos import message
from serving.repository import read_samples

TF_TYPES = {
    "DT_FLOAT": "FP32", "DT_DOUBLE": "FP64", "DT_INT8": "INT8", "DT_INT16": "INT16", "DT_INT32": "INT32",
    "DT_INT64": "INT64", "DT_UINT8": "UINT8", "DT_UINT16": "UINT16", "DT_UINT32": "UINT32", "DT_UINT64": "UINT64",
    "DT_BOOL": "BOOL", "DT_STRING": "BYTES", "DT_HALF": "FP16",
}  # fmt: skip
Specs = tuple[TensorSpec, ...]


def find_subject(api: str, address: str, rpc: str, artifact: str, repository: Path | None = None) -> Subject:
    """The server at `address` with what there is to know of `artifact`; raises StageError where nothing is."""
    folder = (repository or MODEL_REPOSITORY) / artifact
    if (folder / "manifest.json").is_file():
        manifest = Manifest.read(folder, "make export")
        inputs, expected = _samples(manifest, folder.parent)
        return Subject(artifact, address, rpc, manifest.inputs, manifest.outputs, inputs, expected)
    if repository is not None:
        raise StageError(f"no {folder / 'manifest.json'}: choose another --artifact or --repository")
    inputs_specs, outputs_specs = _ask(api, address, artifact)
    return Subject(artifact, address, rpc, inputs_specs, outputs_specs, _zeros(inputs_specs))


def _samples(manifest: Manifest, repository: Path) -> tuple[dict[str, np.ndarray], Mapping[str, np.ndarray] | None]:
    names = {spec.name for spec in manifest.inputs}
    if not (repository / "samples.npz").is_file():
        return _zeros(manifest.inputs), None
    samples = read_samples(repository)
    if not names <= samples.inputs.keys() or len(samples) < _batch_rows(manifest):
        return _zeros(manifest.inputs), None
    rows = list(range(_batch_rows(manifest)))
    inputs = samples.take(rows)
    ranks = {spec.name: len(spec.shape) for spec in manifest.outputs}
    expected = take(samples.expected.get(manifest.name, {}), ranks, rows)
    return {name: inputs[name] for name in names}, expected or None


def _batch_rows(manifest: Manifest) -> int:
    """How many samples make the batch of a request: two where the batch is free and rows are independent."""
    batches = [spec.shape[0] if spec.shape else 1 for spec in manifest.inputs]
    fixed = [size for size in batches if size != -1]
    return max(fixed, default=2 if manifest.batching.may_join else 1)


def _zeros(specs: Iterable[TensorSpec]) -> dict[str, np.ndarray]:
    """Two rows of zeros (one where the batch isn't free), every other free dimension 1; BYTES are empty."""
    tensors = {}
    for spec in specs:
        shape = tuple((2 if place == 0 else 1) if size == -1 else size for place, size in enumerate(spec.shape))
        tensors[spec.name] = np.full(shape, b"", object) if spec.datatype == "BYTES" else np.zeros(shape, spec.dtype)
    return tensors


def _ask(api: str, address: str, artifact: str) -> tuple[Specs, Specs]:
    try:
        if api == "oip-rest":
            return _from_oip(ask(address, "GET", f"/v2/models/{artifact}"))
        if api == "oip-grpc":
            return _from_oip_grpc(address, artifact)
        if api == "tfserving":
            return _from_tfserving(ask(address, "GET", f"/v1/models/{artifact}/metadata"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StageError(
            f"{address} doesn't describe the model {artifact!r} ({error!r}): give --repository with its manifest"
        ) from None
    raise StageError(f"{api} has no metadata of models: give --repository with the manifest of {artifact!r}")


def _answered(reply: Reply) -> Any:
    if reply.status == 0:
        raise StageError(f"{reply.body.decode()}: start the server, or mend --url")
    if reply.status != 200:
        raise StageError(f"no metadata, but {reply}: mend --artifact, or give --repository")
    return reply.document


def _from_oip(reply: Reply) -> tuple[Specs, Specs]:
    metadata = _answered(reply)
    inputs, outputs = (
        [_spec(t["name"], t["datatype"], t["shape"]) for t in metadata[key]] for key in ("inputs", "outputs")
    )
    return tuple(inputs), tuple(outputs)


def _from_oip_grpc(address: str, artifact: str) -> tuple[Specs, Specs]:
    request = message("inference.ModelMetadataRequest")(name=artifact)
    called = call(address, "/inference.GRPCInferenceService/ModelMetadata", request.SerializeToString())
    if called.code != "OK":
        raise StageError(f"no metadata, but {called}: start the server, or mend --url and --artifact")
    metadata = message("inference.ModelMetadataResponse").FromString(called.body)
    inputs, outputs = (
        [_spec(t.name, t.datatype, t.shape) for t in tensors] for tensors in (metadata.inputs, metadata.outputs)
    )
    return tuple(inputs), tuple(outputs)


def _from_tfserving(reply: Reply) -> tuple[Specs, Specs]:
    signature = _answered(reply)["metadata"]["signature_def"]["signature_def"]["serving_default"]
    inputs, outputs = ([_tf_spec(*item) for item in sorted(signature[key].items())] for key in ("inputs", "outputs"))
    return tuple(inputs), tuple(outputs)


def _tf_spec(name: str, tensor: Mapping[str, Any]) -> TensorSpec:
    return _spec(name, TF_TYPES[tensor["dtype"]], [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]])


def _spec(name: str, datatype: str, shape: Iterable[int]) -> TensorSpec:
    spec = TensorSpec(name, datatype, tuple(shape))
    spec.dtype  # noqa: B018 - an unknown datatype raises KeyError here rather than in a case
    return spec
