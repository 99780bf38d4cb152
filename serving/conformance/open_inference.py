"""Builds and reads Open Inference Protocol v2 requests, REST, binary and gRPC, for the cases to bend."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from contract import DATATYPES
from serving.conformance.case import NotApplicable, Violation, brief, expect
from serving.conformance.exchange import Called, Reply
from serving.conformance.subject import Subject, to_json
from serving.protos import message

SERVICE = "/inference.GRPCInferenceService/"
LENGTH = "Inference-Header-Content-Length"
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def infer_path(subject: Subject, model: str | None = None) -> str:
    """Where inference requests go."""
    return f"/v2/models/{model or subject.artifact}/infer"


def infer_document(subject: Subject, count: int = 1, flat: bool = True, **more: Any) -> dict[str, Any]:
    """An inference request for `count` samples as JSON values."""
    inputs = [
        {
            "name": spec.name,
            "shape": list(array.shape),
            "datatype": spec.datatype,
            "data": array.ravel() if flat else array,
        }
        for spec, array in ((spec, subject.sample(count)[spec.name]) for spec in subject.inputs_specs)
    ]
    return {"inputs": inputs, **more}


def bent(subject: Subject, **changes: Any) -> dict[str, Any]:
    """An inference request whose first input has other values under some keys; None takes a key away."""
    document = infer_document(subject)
    document["inputs"][0].update(changes)
    document["inputs"][0] = {key: value for key, value in document["inputs"][0].items() if value is not None}
    return document


def outputs_in(reply: Reply) -> dict[str, np.ndarray]:
    """The outputs of a JSON answer by name; Violation where it isn't one."""
    expect(reply.status == 200, reply)
    document = reply.document
    expect(isinstance(document, dict) and isinstance(document.get("outputs"), list), reply)
    outputs = {}
    for output in document["outputs"]:
        missing = {"name", "shape", "datatype", "data"} - output.keys()
        expect(not missing, f"an output has no {', '.join(sorted(missing))}: {sorted(output)}")
        outputs[output["name"]] = _array(output["datatype"], output["shape"], output["data"])
    return outputs


def _array(datatype: str, shape: list[int], data: Any) -> np.ndarray:
    expect(datatype in DATATYPES, f"datatype {datatype}")
    try:
        return np.asarray(data, DATATYPES[datatype]).reshape(shape)
    except (ValueError, TypeError) as error:
        raise Violation(f"the data of an output doesn't fit its shape {shape}: {brief(error)}") from None


def binary_request(subject: Subject, count: int = 1, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request with every input as a binary tensor, and its headers."""
    document = infer_document(subject, count, **more)
    tensors = []
    for described, spec in zip(document["inputs"], subject.inputs_specs, strict=True):
        raw = raw_bytes(subject.sample(count)[spec.name], spec.datatype)
        del described["data"]
        described["parameters"] = {"binary_data_size": len(raw)}
        tensors.append(raw)
    return framed(document, b"".join(tensors))


def framed(document: Any, tail: bytes) -> tuple[bytes, dict[str, str]]:
    """JSON and what follows it as one body, and the headers that say where the JSON ends."""
    head = to_json(document)
    return head + tail, {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def binary_outputs_in(reply: Reply) -> dict[str, np.ndarray]:
    """The outputs of an answer with binary tensors, in whatever mixture it has them."""
    expect(reply.status == 200, reply)
    length = reply.headers.get(LENGTH.lower(), "")
    expect(length.isdigit(), f"no header {LENGTH} in the answer, only {sorted(reply.headers)}")
    document, tail = json.loads(reply.body[: int(length)]), reply.body[int(length) :]
    outputs = {}
    for output in document["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        expect((size is None) != ("data" not in output), f"output {output['name']} has {sorted(output)}")
        if size is None:
            outputs[output["name"]] = _array(output["datatype"], output["shape"], output["data"])
            continue
        outputs[output["name"]] = from_raw(tail[:size], output["datatype"], output["shape"])
        tail = tail[size:]
    expect(not tail, f"{len(tail)} bytes are left after the last tensor")
    return outputs


def raw_bytes(array: np.ndarray, datatype: str) -> bytes:
    """Little-endian, row-major; BYTES elements after their length in four bytes."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())
    return np.ascontiguousarray(array, DATATYPES[datatype].newbyteorder("<")).tobytes()


def from_raw(data: bytes, datatype: str, shape: Any) -> np.ndarray:
    """A tensor from its bytes."""
    expect(datatype != "BYTES" and datatype in DATATYPES, f"datatype {datatype}")
    wanted = int(np.prod(list(shape))) * DATATYPES[datatype].itemsize
    expect(len(data) == wanted, f"{len(data)} bytes for {datatype} {list(shape)}, expected {wanted}")
    return np.frombuffer(data, DATATYPES[datatype].newbyteorder("<")).reshape(list(shape))


def grpc_request(subject: Subject, count: int = 1, raw: bool = True) -> Any:
    """An inference request as a message, with raw or typed contents."""
    request = message("inference.ModelInferRequest")(model_name=subject.artifact)
    for spec in subject.inputs_specs:
        array = subject.sample(count)[spec.name]
        tensor = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(raw_bytes(array, spec.datatype))
        elif spec.datatype in CONTENTS:
            getattr(tensor.contents, CONTENTS[spec.datatype]).extend(array.ravel().tolist())
        else:
            raise NotApplicable(f"{spec.datatype} has no typed contents")
    return request


def grpc_answer(called: Called) -> Any:
    """The answer as a message; Violation where the call failed."""
    expect(called.code == "OK", called)
    return message("inference.ModelInferResponse").FromString(called.body)


def grpc_outputs_in(called: Called) -> dict[str, np.ndarray]:
    """The outputs of a gRPC answer by name."""
    answer = grpc_answer(called)
    raw = list(answer.raw_output_contents)
    expect(not raw or len(raw) == len(answer.outputs), f"{len(raw)} raw contents for {len(answer.outputs)} outputs")
    outputs = {}
    for place, output in enumerate(answer.outputs):
        if raw:
            outputs[output.name] = from_raw(raw[place], output.datatype, output.shape)
        else:
            values = getattr(output.contents, CONTENTS[output.datatype])
            outputs[output.name] = _array(output.datatype, list(output.shape), list(values))
    return outputs


def close(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two answers agree as far as another order of summation lets them."""
    return bool(np.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True))


def expect_same(outputs: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    """Raise Violation unless both have the same outputs with the same values."""
    expect(outputs.keys() == wanted.keys(), f"outputs {sorted(outputs)}, expected {sorted(wanted)}")
    for name, array in wanted.items():
        expect(outputs[name].shape == array.shape, f"{name} has shape {outputs[name].shape}, expected {array.shape}")
        if array.dtype.kind in "fc":
            off = float(np.max(np.abs(outputs[name] - array), initial=0.0))
            expect(close(outputs[name], array), f"{name} differs by {off:.3g}")
        else:
            expect(np.array_equal(outputs[name], array), f"{name} differs")
