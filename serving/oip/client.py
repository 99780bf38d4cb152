"""The client's side of the Open Inference Protocol: requests to bytes, answers to arrays. No sockets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from contract import DATATYPES, Manifest, Tensors
from serving.server import Call

GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
JSON_LENGTH = "Inference-Header-Content-Length"


def encode(protocol: str, artifact: str, manifest: Manifest, inputs: Tensors) -> Call:
    """The request that sends `inputs` to `artifact` as JSON, as JSON with binary tensors, or over gRPC."""
    datatypes = {spec.name: spec.datatype for spec in manifest.inputs}
    if protocol == "grpc":
        return Call(GRPC_PATH, _encode_grpc(artifact, datatypes, inputs))
    path = f"/v2/models/{artifact}/infer"
    tensors: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for name, array in inputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatypes[name]}
        if protocol == "rest":
            tensor["data"] = _listable(array)
        else:
            tails.append(_raw(array))
            tensor["parameters"] = {"binary_data_size": len(tails[-1])}
        tensors.append(tensor)
    if protocol == "rest":
        body = orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Call(path, body, {"Content-Type": "application/json"})
    text = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(text))}
    return Call(path, b"".join((text, *tails)), headers)


def decode(protocol: str, body: bytes, headers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The outputs in an answer; `headers` has lower-case names. Raises ValueError where it is no answer."""
    if protocol == "grpc":
        return _decode_grpc(body)
    length = headers.get(JSON_LENGTH.lower())
    start = len(body) if length is None else int(length)
    answer = orjson.loads(body[:start])
    outputs: dict[str, np.ndarray] = {}
    try:
        for tensor in answer["outputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                outputs[tensor["name"]] = _from_list(tensor)
            else:
                outputs[tensor["name"]] = _from_raw(tensor["datatype"], tensor["shape"], body[start : start + size])
                start += size
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an answer of the Open Inference Protocol: {error!r}") from error
    return outputs


def _encode_grpc(artifact: str, datatypes: Mapping[str, str], inputs: Tensors) -> bytes:
    from serving import protos

    request = protos.message("inference.ModelInferRequest")(model_name=artifact)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        request.raw_input_contents.append(_raw(array))
    body: bytes = request.SerializeToString()
    return body


def _decode_grpc(body: bytes) -> dict[str, np.ndarray]:
    from google.protobuf.message import DecodeError

    from serving import protos

    try:
        answer = protos.message("inference.ModelInferResponse").FromString(body)
    except DecodeError as error:
        raise ValueError(f"not a ModelInferResponse: {error}") from error
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {tensor.name: _from_raw(tensor.datatype, tuple(tensor.shape), raw) for tensor, raw in pairs}


def _listable(array: np.ndarray) -> Any:
    """What orjson writes as a flat list: of a float32 the shortest text that reads back as the same float32."""
    if array.dtype == np.object_:
        return [element.decode() for element in array.ravel()]
    return np.ascontiguousarray(array).ravel()


def _raw(array: np.ndarray) -> bytes:
    if array.dtype == np.object_:
        return b"".join(len(element).to_bytes(4, "little") + element for element in array.ravel())
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _from_list(tensor: Mapping[str, Any]) -> np.ndarray:
    data = tensor["data"]
    if tensor["datatype"] == "BYTES":
        data = [element.encode() for element in data]
    return np.array(data, DATATYPES[tensor["datatype"]]).reshape(tensor["shape"])


def _from_raw(datatype: str, shape: Any, data: bytes) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(data, DATATYPES[datatype].newbyteorder("<")).reshape(shape)
    elements = np.empty(math.prod(shape), np.object_)
    start = 0
    for index in range(len(elements)):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        elements[index] = data[start + 4 : end]
        start = end
    return elements.reshape(shape)
