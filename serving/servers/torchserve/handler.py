"""TorchServe handler: tensors in, tensors out, no pre- or post-processing.

Packed into the archive beside `model.pt` and the artifact's `manifest.json`; it runs in TorchServe's worker process and
imports nothing of this project. A body is one of

- JSON `{"inputs": {"<tensor>": nested lists}}`, answered by `{"outputs": {"<tensor>": nested lists}}`;
- the bytes of the input tensors, little-endian, row-major, in the manifest's order (content type
  `application/octet-stream`, or the input `data` of a gRPC request), answered by the bytes of the outputs;
- an Open Inference Protocol v2 request (`inputs` is a list), answered in kind.

A request that is wrong gets a 400 of its own; the rest of its batch is served.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ts.utils.util import PredictionException

DTYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip

Named = dict[str, np.ndarray]
WARMUP = "warmup.npz"
"""In the archive: the inputs of one sample."""


class TensorHandler:
    """What TorchServe loads: `initialize` once per worker, then `handle` per batch of requests."""

    @dataclass  # in here, because TorchServe takes a module with one class only
    class Decoded:
        """One request: how it was encoded, its tensors, and what OIP says beside them."""

        kind: str
        tensors: Named
        wanted: list[str]
        id: str | None = None

        @property
        def rows(self) -> int:
            """Size of its batch."""
            return len(next(iter(self.tensors.values())))

    def initialize(self, context: Any) -> None:
        """Load `model.pt` and the signature; a model that requests may share a run of is warmed up with a sample."""
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        folder = Path(context.system_properties["model_dir"])
        manifest = json.loads((folder / "manifest.json").read_text())
        self.inputs: list[dict[str, Any]] = manifest["inputs"]
        self.outputs: list[dict[str, Any]] = manifest["outputs"]
        self.model = torch.jit.load(str(folder / "model.pt")).eval()  # type: ignore[no-untyped-call]
        self.joins = manifest.get("batching", {}).get("verdict") in ("proven", "declared")
        if self.joins and (folder / WARMUP).is_file():  # without the proof a run might change the model
            with np.load(folder / WARMUP) as sample:
                self._run([sample[spec["name"]] for spec in self.inputs])

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one body per request, in order."""
        answers: list[Any] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[tuple[int, TensorHandler.Decoded]]] = {}
        for index, request in enumerate(requests):
            decoded = self._decode_or_explain(request, context.get_all_request_header(index) or {})
            if isinstance(decoded, str):
                answers[index] = self._refuse(context, index, decoded, len(requests))
            else:  # only requests of one shape share a run, and only where rows are proven to be independent
                shapes = tuple(array.shape[1:] for array in decoded.tensors.values())
                groups.setdefault(shapes if self.joins else (index,), []).append((index, decoded))
        for group in groups.values():
            try:
                outputs = self._run_joined([decoded.tensors for _, decoded in group])
            except (RuntimeError, ValueError) as error:
                reason = f"the model refused the input: {(str(error) or type(error).__name__).splitlines()[0]}"
                for index, _ in group:
                    answers[index] = self._refuse(context, index, reason, len(requests))
                continue
            start = 0
            for index, decoded in group:
                rows = outputs
                if len(group) > 1:
                    rows = {name: array[start : start + decoded.rows] for name, array in outputs.items()}
                    start += decoded.rows
                try:
                    answers[index] = self._encode(decoded, rows, context, index)
                except ValueError as error:
                    answers[index] = self._refuse(context, index, str(error), len(requests))
        return answers

    def _run_joined(self, requests: list[Named]) -> Named:
        if len(requests) == 1:
            return self._run([requests[0][spec["name"]] for spec in self.inputs])
        return self._run([np.concatenate([tensors[spec["name"]] for tensors in requests]) for spec in self.inputs])

    def _run(self, arrays: list[np.ndarray]) -> Named:
        arguments = [array if spec["shape"] else array.item() for spec, array in zip(self.inputs, arrays, strict=True)]
        with torch.inference_mode():
            result = self.model(*(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments))
        names = [spec["name"] for spec in self.outputs]
        if isinstance(result, dict):  # as the export takes them: by name, or in order
            return {name: result[name].numpy() for name in names}
        results = result if isinstance(result, (tuple, list)) else (result,)
        return {name: tensor.numpy() for name, tensor in zip(names, results, strict=True)}

    def _decode_or_explain(self, request: dict[str, Any], headers: dict[str, str]) -> Decoded | str:
        try:
            return self._decode(request, {name.lower(): value for name, value in headers.items()})
        except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError, RecursionError) as error:
            return str(error.args[0]) if error.args else type(error).__name__

    def _decode(self, request: dict[str, Any], headers: dict[str, str]) -> Decoded:
        body = request.get("data", request.get("body", b""))
        raw = "data" in request or headers.get("content-type") == "application/octet-stream"
        document = _read_json(body) if raw else body if isinstance(body, dict) else json.loads(body or b"null")
        if raw and document is None:
            return self.Decoded("binary", self._from_bytes(body), [])
        if not isinstance(document, dict) or "inputs" not in document:
            raise ValueError('expected {"inputs": {"<tensor>": nested lists}}')
        tensors = document["inputs"]
        if not isinstance(tensors, list):
            return self.Decoded("json", self._check({name: np.asarray(value) for name, value in tensors.items()}), [])
        names = [spec["name"] for spec in self.outputs]
        wanted = [output["name"] for output in document.get("outputs") or []] or names
        if unknown := set(wanted) - set(names):
            raise ValueError(f"no output {sorted(unknown)[0]!r}: the model has {names}")
        return self.Decoded("oip", self._check(self._read_oip(tensors)), wanted, document.get("id"))

    def _read_oip(self, described: list[dict[str, Any]]) -> Named:
        datatypes = {spec["name"]: spec["datatype"] for spec in self.inputs}
        tensors: Named = {}
        for tensor in described:
            name, shape, wanted = tensor["name"], tensor["shape"], datatypes.get(tensor["name"])
            if name in tensors:
                raise ValueError(f"input {name!r} is given twice")
            if wanted is not None and tensor.get("datatype") != wanted:
                raise ValueError(f"input {name!r} has datatype {tensor.get('datatype')!r}, expected {wanted!r}")
            array = np.asarray(tensor["data"])
            if any(size < 0 for size in shape) or array.size != math.prod(shape):
                raise ValueError(f"input {name!r}: shape {shape} does not go with {array.size} elements")
            tensors[name] = array.reshape(shape)
        return tensors

    def _from_bytes(self, body: bytes | bytearray) -> Named:
        sizes = [math.prod(spec["shape"][1:]) * np.dtype(DTYPES[spec["datatype"]]).itemsize for spec in self.inputs]
        if any(-1 in spec["shape"][1:] or not spec["shape"] for spec in self.inputs):
            raise ValueError("a model with free dimensions or scalars takes JSON, not raw tensors")
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
            if not fits or not array.size:
                raise ValueError(f"input {spec['name']!r} has shape {list(array.shape)}, expected {spec['shape']}")
            checked[spec["name"]] = array
        return checked

    def _encode(self, decoded: Decoded, outputs: Named, context: Any, index: int) -> Any:
        if decoded.kind == "binary":
            context.set_response_content_type(index, "application/octet-stream")
            return bytearray(b"".join(np.ascontiguousarray(outputs[spec["name"]]).tobytes() for spec in self.outputs))
        context.set_response_content_type(index, "application/json")
        if decoded.kind == "json":
            return _to_json({"outputs": {name: array.tolist() for name, array in outputs.items()}})
        datatypes = {spec["name"]: spec["datatype"] for spec in self.outputs}
        described = [
            {"name": n, "datatype": datatypes[n], "shape": list(outputs[n].shape), "data": outputs[n].ravel().tolist()}
            for n in decoded.wanted
        ]
        answer = {"model_name": context.manifest["model"]["modelName"], "outputs": described}
        return _to_json(answer if decoded.id is None else {**answer, "id": decoded.id})

    @staticmethod
    def _refuse(context: Any, index: int, reason: str, batch: int) -> str:
        """Refuse one request, in the words of TorchServe's API and of the Open Inference Protocol.

        Over gRPC, which has no Host, only an exception is told as an error, and it takes the whole batch.
        """
        headers = {name.lower() for name in context.get_all_request_header(index) or {}}
        if batch == 1 and headers.isdisjoint(("host", "content-length")):
            raise PredictionException(reason, 400)
        context.set_response_status(code=400, phrase="Bad Request", idx=index)
        context.set_response_content_type(index, "application/json")
        return json.dumps({"code": 400, "type": "BadRequestException", "message": reason, "error": reason})


def _to_json(document: dict[str, Any]) -> str:
    """JSON, which has no NaN and no Infinity; raises ValueError where a model gives one."""
    try:
        return json.dumps(document, allow_nan=False)
    except ValueError:
        raise ValueError("an output has NaN or Infinity, which JSON can't hold: ask for raw tensors") from None


def _read_json(body: bytes | bytearray) -> Any:
    """The JSON object in bytes that may be a tensor's as well, or None: one that begins with a brace is no JSON."""
    if body[:1] != b"{":
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
