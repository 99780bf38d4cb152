"""The Open Inference Protocol over gRPC, on the event loop that serves REST too.

Messages come from `serving.protos`; beside the protocol there is `grpc.health.v1`. Errors have the words that REST has,
under the matching code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving import protos
from serving.hosting.batcher import Outputs
from serving.hosting.model_repository import ModelRepository
from serving.hosting.served_model import ServedModel
from serving.hosting.server_timing import ASKED, TOLD, server_timing, timing
from serving.hosting.signature import EXTENSIONS, Refusal, to_bytes, to_refusal
from serving.oip.grpc_tensors import read_input
from serving.oip.message_cache import Known, Recall, answer, learn_answer
from serving.oip.rest import deadline_of, model_metadata
from serving.transport.grpc.call import Call, Method
from serving.transport.grpc.health import health_methods
from serving.transport.grpc.status import RpcError, code_of_http

SERVICE = "inference.GRPCInferenceService"
CALLS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)

_InferRequest = protos.message("inference.ModelInferRequest")
_InferResponse = protos.message("inference.ModelInferResponse")


def refuse(error: BaseException) -> RpcError:
    """The status that answers an error."""
    if isinstance(error, RpcError):
        return error
    refusal = to_refusal(error)
    return RpcError(code_of_http(refusal.status), str(refusal))


class GrpcApi:
    """The methods of GRPCInferenceService; each takes the parsed message and gives a message."""

    def __init__(self, models: ModelRepository, name: str, version: str) -> None:
        self._models = models
        self._name = name
        self._version = version
        self._recall = Recall()

    def infer(self, data: bytes, call: Call) -> asyncio.Future[bytes]:
        """ModelInfer. The bytes are parsed here, so that broken ones get INVALID_ARGUMENT."""
        found = self._recall.find(data)
        if found is not None and self._models.is_served(found[0].hosted):
            known, raw = found
            hosted = known.hosted
            then = _Answer(call, hosted, data, None, known)
            inputs, deadline_s = known.inputs(raw), call.deadline_s
        else:
            request = _parse(_InferRequest, data)
            hosted = self._models.find(request.model_name, request.model_version or None)
            inputs, deadline_s = self._read(request, hosted, call)
            wanted = [output.name for output in request.outputs]
            then = _Answer(call, hosted, data, request, self._recall.learn(data, request, hosted, wanted))
        try:
            return hosted.batcher.submit(inputs, deadline_s, then)
        except Exception as error:
            hosted.metrics.count(to_refusal(error).status)
            raise

    @staticmethod
    def _read(request: Any, hosted: ServedModel, call: Call) -> tuple[dict[str, np.ndarray], float | None]:
        """The inputs of a request that is right, and its deadline."""
        deadline_s = call.deadline_s
        try:
            inputs = _read_inputs(request, hosted)
            for output in request.outputs:
                hosted.signature.output(output.name)
            if "timeout" in request.parameters:
                own_s = call.arrival_s + deadline_of(request.parameters["timeout"].int64_param)
                deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
        except Refusal as refusal:
            hosted.metrics.count(refusal.status)
            raise
        return inputs, deadline_s

    def server_live(self, request: Any) -> dict[str, Any]:
        """ServerLive."""
        return {"live": True}

    def server_ready(self, request: Any) -> dict[str, Any]:
        """ServerReady."""
        return {"ready": self._models.ready}

    def model_ready(self, request: Any) -> dict[str, Any]:
        """ModelReady; a model that isn't there isn't ready, which is no error: Triton's client relies on it."""
        try:
            self._models.find(request.name, request.version or None)
        except Refusal:
            return {"ready": False}
        return {"ready": self._models.ready}

    def server_metadata(self, request: Any) -> dict[str, Any]:
        """ServerMetadata."""
        return {"name": self._name, "version": self._version, "extensions": EXTENSIONS}

    def model_metadata(self, request: Any) -> dict[str, Any]:
        """ModelMetadata."""
        return model_metadata(self._models, request.name, request.version or None)

    def repository_index(self, request: Any) -> dict[str, Any]:
        """RepositoryIndex."""
        return {"models": [row for row in self._models.index() if row["state"] == "READY" or not request.ready]}

    async def repository_model_load(self, request: Any) -> dict[str, Any]:
        """RepositoryModelLoad."""
        await self._models.load(request.model_name)
        return {}

    async def repository_model_unload(self, request: Any) -> dict[str, Any]:
        """RepositoryModelUnload."""
        await self._models.unload(request.model_name)
        return {}

    def methods(self) -> dict[str, Method]:
        """What a gRPC server is given, by path."""
        calls = {call: Method(self._plain(call)) for call in CALLS} | {"ModelInfer": Method(self.infer)}
        return {f"/{SERVICE}/{name}": method for name, method in calls.items()} | health_methods(self._is_serving)

    def _plain(self, name: str) -> Callable[[bytes, Call], bytes | Awaitable[bytes]]:
        request_type = protos.message(f"inference.{name}Request")
        response_type = protos.message(f"inference.{name}Response")
        method = getattr(self, "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:])

        async def later(fields: Awaitable[dict[str, Any]]) -> bytes:
            return bytes(response_type(**await fields).SerializeToString())

        def respond(data: bytes, call: Call) -> bytes | Awaitable[bytes]:  # noqa: ARG001 - a Method's
            fields = method(_parse(request_type, data))
            if asyncio.iscoroutine(fields):
                return later(fields)
            return bytes(response_type(**fields).SerializeToString())

        return respond

    def _is_serving(self, service: str) -> bool | None:
        return self._models.ready if service in ("", SERVICE) else None


class _Answer:
    """Turns the outputs of a run into the response to one request; a `then` of the batcher."""

    __slots__ = ("call", "data", "hosted", "known", "request")

    def __init__(self, call: Call, hosted: ServedModel, data: bytes, request: Any, known: Known | None) -> None:
        self.call = call
        self.hosted = hosted
        self.data = data
        self.request = request
        self.known = known

    def __call__(self, outputs: Outputs) -> bytes:
        hosted, call = self.hosted, self.call
        response = None if self.known is None else answer(self.known, outputs)
        if response is None:
            request = _parse(_InferRequest, self.data) if self.request is None else self.request
            response = _encode(request, hosted, outputs, self.known)
        if ASKED in call.metadata:
            call.trailing = ((TOLD.lower(), server_timing(outputs)),)
        hosted.metrics.count(200)
        hosted.metrics.request.observe(time.perf_counter() - call.arrival_s)
        return response


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError:
        raise Refusal(400, f"the request is not a {message.DESCRIPTOR.name}") from None


def _read_inputs(request: Any, hosted: ServedModel) -> dict[str, np.ndarray]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refusal(
            400, f"raw_input_contents has {len(raw)} elements: {len(request.inputs)} are expected, one per input"
        )
    inputs: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in inputs:
            raise Refusal(400, f"input {tensor.name!r} is given twice")
        spec = hosted.signature.input(tensor.name, tensor.datatype, tensor.shape)
        inputs[tensor.name] = read_input(spec, tensor, raw[index] if raw else None)
    hosted.signature.check_complete(inputs)
    return inputs


def _encode(request: Any, hosted: ServedModel, outputs: Outputs, known: Known | None) -> bytes:
    response = _InferResponse(model_name=hosted.name, model_version=hosted.version, id=request.id)
    specs = hosted.signature.outputs
    raw = b""
    for name in [output.name for output in request.outputs] or specs:
        response.outputs.add(name=name, datatype=specs[name].datatype, shape=outputs[name].shape)
        raw = to_bytes(outputs[name], specs[name].datatype)
        response.raw_output_contents.append(raw)
    if "server_timing" in request.parameters:
        for key, value in timing(outputs).items():
            response.parameters[key].double_param = value
    data: bytes = response.SerializeToString()
    if known is not None:
        learn_answer(known, data, raw, outputs[response.outputs[0].name].shape)
    return data
