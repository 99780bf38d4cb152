"""The Open Inference Protocol over gRPC, on the event loop that serves REST too.

Messages come from `serving.protos`; beside the protocol there is `grpc.health.v1`. Errors have the words that REST has,
under the matching code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from serving import protos
from serving.hosting.batcher import Outputs
from serving.hosting.errors import RequestError, as_request_error
from serving.hosting.model_repository import ModelRepository
from serving.hosting.served_model import ServedModel
from serving.hosting.server_timing import REQUEST_HEADER, RESPONSE_HEADER, server_timing, timing
from serving.hosting.tensors import to_bytes
from serving.oip.grpc_tensors import ParsedRequest, parse, read_inputs
from serving.oip.metadata import EXTENSIONS, LONG_BYTES, model_metadata, timeout_s
from serving.protos.encoded_fields import message_with
from serving.transport.grpc.call import Call, Method
from serving.transport.grpc.health import health_methods
from serving.transport.grpc.status import RpcError, code_of_http
from serving.transport.offload import run_long

SERVICE = "inference.GRPCInferenceService"
RAW_OUTPUT_CONTENTS = 6
Fields = dict[str, Any]
"""The fields of a response."""

_InferResponse = protos.message("inference.ModelInferResponse")


def to_rpc_error(error: BaseException) -> RpcError:
    """The status that answers an error."""
    if isinstance(error, RpcError):
        return error
    request_error = as_request_error(error)
    return RpcError(code_of_http(request_error.status), str(request_error))


class GrpcApi:
    """The methods of GRPCInferenceService; each takes the parsed message and gives the fields of the response."""

    def __init__(self, models: ModelRepository, name: str, version: str) -> None:
        self._models = models
        self._name = name
        self._version = version

    def methods(self) -> dict[str, Method]:
        """What a gRPC server is given, by path."""
        calls: dict[str, Callable[[Any], Fields | Awaitable[Fields]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_model_load,
            "RepositoryModelUnload": self.repository_model_unload,
        }
        methods = {name: Method(_with_messages(name, answer)) for name, answer in calls.items()}
        methods["ModelInfer"] = Method(self.infer)
        return {f"/{SERVICE}/{name}": method for name, method in methods.items()} | health_methods(self._is_serving)

    def infer(self, data: bytes | memoryview, call: Call) -> Awaitable[bytes]:
        """ModelInfer; a long message is read in a thread."""
        if len(data) >= LONG_BYTES:
            return self._infer_long(data, call)
        parsed = parse(data)
        served = self._models.find(parsed.message.model_name, parsed.message.model_version or None)
        try:
            return self._submit(parsed, read_inputs(parsed, served.signature), served, call)
        except Exception as error:
            served.count_error(error)
            raise

    async def _infer_long(self, data: bytes | memoryview, call: Call) -> bytes:
        parsed = await run_long(parse, data)
        served = self._models.find(parsed.message.model_name, parsed.message.model_version or None)
        with served.in_use():
            try:
                inputs = await run_long(read_inputs, parsed, served.signature)
                answer = self._submit(parsed, inputs, served, call)
            except Exception as error:
                served.count_error(error)
                raise
        return await answer

    @staticmethod
    def _submit(
        parsed: ParsedRequest, inputs: dict[str, Any], served: ServedModel, call: Call
    ) -> asyncio.Future[bytes]:
        """Queue a request that is right."""
        message, deadline_s = parsed.message, call.deadline_s
        outputs, parameters = message.outputs, message.parameters
        wanted = [served.signature.check_output(output.name) for output in outputs] if len(outputs) else []
        answer = _Answer(call, served, message.id, wanted)
        if len(parameters):
            if "timeout" in parameters:
                own_s = call.arrival_s + timeout_s(parameters["timeout"].int64_param)
                deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
            answer.tells_timing = "server_timing" in parameters
        return served.batcher.submit(inputs, deadline_s, answer)

    def server_live(self, request: Any) -> Fields:
        """ServerLive."""
        return {"live": True}

    def server_ready(self, request: Any) -> Fields:
        """ServerReady."""
        return {"ready": self._models.ready}

    def model_ready(self, request: Any) -> Fields:
        """ModelReady; a model that isn't there isn't ready, which is no error: Triton's client relies on it."""
        try:
            self._models.find(request.name, request.version or None)
        except RequestError:
            return {"ready": False}
        return {"ready": self._models.ready}

    def server_metadata(self, request: Any) -> Fields:
        """ServerMetadata."""
        return {"name": self._name, "version": self._version, "extensions": EXTENSIONS}

    def model_metadata(self, request: Any) -> Fields:
        """ModelMetadata."""
        return model_metadata(self._models, request.name, request.version or None)

    def repository_index(self, request: Any) -> Fields:
        """RepositoryIndex."""
        return {"models": [row for row in self._models.index() if row["state"] == "READY" or not request.ready]}

    async def repository_model_load(self, request: Any) -> Fields:
        """RepositoryModelLoad."""
        await self._models.load(request.model_name)
        return {}

    async def repository_model_unload(self, request: Any) -> Fields:
        """RepositoryModelUnload."""
        await self._models.unload(request.model_name)
        return {}

    def _is_serving(self, service: str) -> bool | None:
        return self._models.ready if service in ("", SERVICE) else None


def _with_messages(
    name: str, answer: Callable[[Any], Fields | Awaitable[Fields]]
) -> Callable[[bytes, Call], bytes | Awaitable[bytes]]:
    """A method on bytes, of one on messages."""
    request_type = protos.message(f"inference.{name}Request")
    response_type = protos.message(f"inference.{name}Response")

    async def later(response: Awaitable[Fields]) -> bytes:
        return bytes(response_type(**await response).SerializeToString())

    def respond(data: bytes, call: Call) -> bytes | Awaitable[bytes]:  # noqa: ARG001 - a Method's
        try:
            request = request_type.FromString(data)
        except DecodeError:
            raise RequestError(400, f"the request is not a {name}Request") from None
        response = answer(request)
        return bytes(response_type(**response).SerializeToString()) if isinstance(response, dict) else later(response)

    return respond


class _Answer:
    """Turns the outputs of a run into the response to one request; a `then` of the batcher."""

    __slots__ = ("_call", "_id", "_served", "_wanted", "tells_timing")

    def __init__(self, call: Call, served: ServedModel, request_id: str, wanted: list[str]) -> None:
        self._call = call
        self._served = served
        self._id = request_id
        self._wanted = wanted
        """The names of the outputs in order; empty means all."""
        self.tells_timing = False
        """Whether the response says in its parameters where the time went."""

    def __call__(self, outputs: Outputs) -> bytes | asyncio.Future[bytes]:
        if outputs.size_bytes >= LONG_BYTES:
            encoded = run_long(self._encode, outputs)
            encoded.add_done_callback(lambda _: self._count())
            return encoded
        response = self._encode(outputs)
        self._count()
        return response

    def _encode(self, outputs: Outputs) -> bytes:
        served = self._served
        specs = served.signature.outputs
        head = _model_fields(served.name, served.version)
        if self._id:
            head += _InferResponse(id=self._id).SerializeToString()
        raw: list[bytes] = []
        for name in self._wanted or specs:
            array, datatype = outputs[name], specs[name].datatype
            head += _output_field(name, datatype, array.shape)
            raw.append(to_bytes(array, datatype))
        if self.tells_timing:
            parameters = _InferResponse()
            for key, value in timing(outputs).items():
                parameters.parameters[key].double_param = value
            head += parameters.SerializeToString()
        if REQUEST_HEADER in self._call.metadata:
            self._call.trailing = ((RESPONSE_HEADER.lower(), server_timing(outputs)),)
        return message_with(head, RAW_OUTPUT_CONTENTS, raw)

    def _count(self) -> None:
        self._served.metrics.answered(time.perf_counter() - self._call.arrival_s)


@lru_cache(1024)
def _model_fields(name: str, version: str) -> bytes:
    """A response's name and version of the model; serialized messages behind each other are one message."""
    return bytes(_InferResponse(model_name=name, model_version=version).SerializeToString())


@lru_cache(1024)
def _output_field(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """A response's description of one output: the same for every request whose output has this shape."""
    response = _InferResponse()
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(response.SerializeToString())
