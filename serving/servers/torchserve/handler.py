"""TorchServe handler: tensors in, tensors out, no pre- or post-processing.

Packed into the archive beside `model.pt` and the artifact's `manifest.json`; it runs in TorchServe's worker process and
imports nothing of this project. A body is one of

- JSON `{"inputs": {"<tensor>": nested lists}}`, answered by `{"outputs": {"<tensor>": nested lists}}`;
- the bytes of the input tensors, little-endian, row-major, in the manifest's order (content type
  `application/octet-stream`, or gRPC), answered by the bytes of the outputs;
- an Open Inference Protocol v2 request (`inputs` is a list), answered in kind.

A request that is wrong gets a 400 of its own; the rest of its batch is served.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

DTYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip

Named = dict[str, np.ndarray]


class TensorHandler:
    """What TorchServe loads: `initialize` once per worker, then `handle` per batch of requests."""

    def initialize(self, context: Any) -> None:
        """Load `model.pt` and the signature, and run one batch so that the first request meets a warm model."""
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        folder = Path(context.system_properties["model_dir"])
        manifest = json.loads((folder / "manifest.json").read_text())
        self.inputs: list[dict[str, Any]] = manifest["inputs"]
        self.outputs: list[dict[str, Any]] = manifest["outputs"]
        self.model = torch.jit.load(str(folder / "model.pt")).eval()  # type: ignore[no-untyped-call]
        self._run([np.zeros((1, *map(abs, spec["shape"][1:])), DTYPES[spec["datatype"]]) for spec in self.inputs])

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one body per request, in order."""
        decoded: list[tuple[str, Named] | str] = [self._decode_or_explain(request) for request in requests]
        answers: list[Any] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, item in enumerate(decoded):
            if isinstance(item, str):
                answers[index] = self._refuse(context, index, item)
            else:  # only requests of one shape share a run
                groups.setdefault(tuple(array.shape[1:] for array in item[1].values()), []).append(index)
        for indices in groups.values():
            self._answer_group(indices, decoded, answers, context)
        return answers

    def _answer_group(self, indices: list[int], decoded: list[Any], answers: list[Any], context: Any) -> None:
        tensors = [decoded[index][1] for index in indices]
        try:
            outputs = self._run([np.concatenate([t[spec["name"]] for t in tensors]) for spec in self.inputs])
        except RuntimeError as error:
            for index in indices:
                answers[index] = self._refuse(
                    context, index, f"the model refused the input: {str(error).splitlines()[0]}"
                )
            return
        ends = np.cumsum([len(next(iter(named.values()))) for named in tensors])
        for index, end, named in zip(indices, ends, tensors, strict=True):
            start = end - len(next(iter(named.values())))
            answers[index] = self._encode(
                decoded[index][0], {name: array[start:end] for name, array in outputs.items()}, context, index
            )

    def _run(self, arrays: list[np.ndarray]) -> Named:
        with torch.inference_mode():
            result = self.model(*(torch.from_numpy(array) for array in arrays))
        results = result if isinstance(result, (tuple, list)) else (result,)
        return {spec["name"]: tensor.numpy() for spec, tensor in zip(self.outputs, results, strict=True)}

    def _decode_or_explain(self, request: dict[str, Any]) -> tuple[str, Named] | str:
        try:
            return self._decode(request)
        except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError, RecursionError) as error:
            return str(error.args[0]) if error.args else type(error).__name__

    def _decode(self, request: dict[str, Any]) -> tuple[str, Named]:
        body = request.get("body", request.get("data"))
        if isinstance(body, (bytes, bytearray)) and body.lstrip()[:1] != b"{":
            return "binary", self._from_bytes(body)
        document = body if isinstance(body, dict) else json.loads(body or b"null")
        if not isinstance(document, dict) or "inputs" not in document:
            raise ValueError('expected {"inputs": {"<tensor>": nested lists}}')
        given = document["inputs"]
        if isinstance(given, list):
            tensors = {t["name"]: np.asarray(t["data"]).reshape(t["shape"]) for t in given}
            return "oip", self._check(tensors)
        return "json", self._check({name: np.asarray(value) for name, value in given.items()})

    def _from_bytes(self, body: bytes | bytearray) -> Named:
        sizes = [math.prod(spec["shape"][1:]) * np.dtype(DTYPES[spec["datatype"]]).itemsize for spec in self.inputs]
        if any(-1 in spec["shape"][1:] for spec in self.inputs):
            raise ValueError("a model with free dimensions takes JSON, not raw tensors")
        rows, rest = divmod(len(body), sum(sizes))
        if rest or not rows:
            raise ValueError(f"expected a multiple of {sum(sizes)} bytes (one row of every input), got {len(body)}")
        arrays, start = {}, 0
        for spec, size in zip(self.inputs, sizes, strict=True):
            flat: np.ndarray = np.frombuffer(
                body, DTYPES[spec["datatype"]], rows * size // np.dtype(DTYPES[spec["datatype"]]).itemsize, start
            )
            arrays[spec["name"]] = flat.reshape(rows, *spec["shape"][1:]).copy()
            start += rows * size
        return arrays

    def _check(self, tensors: dict[str, np.ndarray]) -> Named:
        checked = {}
        for spec in self.inputs:
            if spec["name"] not in tensors:
                raise ValueError(
                    f"no input {spec['name']!r}: expected {[s['name'] for s in self.inputs]}, got {sorted(tensors)}"
                )
            array: np.ndarray = tensors[spec["name"]].astype(DTYPES[spec["datatype"]])
            fits = array.ndim == len(spec["shape"]) and all(
                w in (-1, n) for w, n in zip(spec["shape"], array.shape, strict=True)
            )
            if not fits or not len(array):
                raise ValueError(f"input {spec['name']!r} has shape {list(array.shape)}, expected {spec['shape']}")
            checked[spec["name"]] = array
        return checked

    def _encode(self, kind: str, outputs: Named, context: Any, index: int) -> Any:
        if kind == "binary":
            context.set_response_content_type(index, "application/octet-stream")
            return bytearray(b"".join(np.ascontiguousarray(outputs[spec["name"]]).tobytes() for spec in self.outputs))
        context.set_response_content_type(index, "application/json")
        if kind == "json":
            return json.dumps({"outputs": {name: array.tolist() for name, array in outputs.items()}})
        described = [
            {
                "name": s["name"],
                "datatype": s["datatype"],
                "shape": list(outputs[s["name"]].shape),
                "data": outputs[s["name"]].ravel().tolist(),
            }
            for s in self.outputs
        ]
        return json.dumps({"model_name": context.manifest["model"]["modelName"], "outputs": described})

    @staticmethod
    def _refuse(context: Any, index: int, reason: str) -> str:
        context.set_response_status(code=400, phrase="Bad Request", idx=index)
        context.set_response_content_type(index, "application/json")
        return json.dumps({"code": 400, "type": "BadRequestException", "message": reason, "error": reason})
