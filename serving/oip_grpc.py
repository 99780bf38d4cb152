"""The Open Inference Protocol over gRPC, on `grpc.aio` in the event loop that serves REST too.

Messages come from `serving.protos`; beside the protocol there is `grpc.health.v1`. Errors have the words that REST has,
under the matching code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from serving import protos
from serving.access import HEALTH, interceptors, refuse_call
from serving.batching import Outputs, QueueFull
from serving.farewell import Farewell
from serving.hosting import Hosted, Models
from serving.oip import EXTENSIONS, Refusal, to_bytes, to_refusal
from serving.oip_contents import read_input
from serving.oip_recall import Known, Recall, answer, learn_answer
from serving.oip_rest import deadline_of, model_metadata
from serving.timing import ASKED, TOLD, server_timing, timing

Context = Any  # grpc.aio.ServicerContext: grpcio has no types
SERVICE = "inference.GRPCInferenceService"
SERVING, NOT_SERVING = 1, 2
"""`grpc.health.v1.HealthCheckResponse.ServingStatus`."""
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
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
WATCH_S = 0.5

_InferRequest = protos.message("inference.ModelInferRequest")
_InferResponse = protos.message("inference.ModelInferResponse")


class GrpcApi:
    """The methods of GRPCInferenceService; each takes the parsed message and gives a message."""

    def __init__(self, models: Models, name: str, version: str) -> None:
        self._models = models
        self._name = name
        self._version = version
        self._recall = Recall()
        self.farewell = Farewell()

    async def infer(self, data: bytes, context: Context) -> Message | bytes:
        """ModelInfer. The bytes are parsed here, so that broken ones get INVALID_ARGUMENT."""
        arrival_s = time.perf_counter()
        remaining_s = context.time_remaining()
        deadline_s = None if remaining_s is None else arrival_s + remaining_s
        request, known = None, None
        found = self._recall.find(data)
        if found is not None and self._models.is_served(found[0].hosted):
            known, raw = found
            hosted, future = known.hosted, self._submit(known.hosted, known.inputs(raw), deadline_s)
        else:
            request = _parse(_InferRequest, data)
            hosted, future = self._submit_parsed(request, deadline_s, arrival_s)
            wanted = [output.name for output in request.outputs]
            known = self._recall.learn(data, request, hosted, wanted)
        outputs: Outputs = await future
        response = None if known is None else answer(known, outputs)
        if response is None:
            request = _parse(_InferRequest, data) if request is None else request
            response = _encode(request, hosted, outputs, known)
        if any([key == ASKED for key, _ in context.invocation_metadata() or ()]):  # noqa: C419 - faster so
            context.set_trailing_metadata(((TOLD.lower(), server_timing(outputs)),))
        hosted.metrics.count(200)
        hosted.metrics.request.observe(time.perf_counter() - arrival_s)
        return response

    def _submit_parsed(self, request: Any, deadline_s: float | None, arrival_s: float) -> tuple[Hosted, Any]:
        """Check a request and queue it."""
        hosted = self._models.find(request.model_name, request.model_version or None)
        try:
            inputs = _read_inputs(request, hosted)
            for output in request.outputs:
                hosted.signature.output(output.name)
            if "timeout" in request.parameters:
                own_s = arrival_s + deadline_of(request.parameters["timeout"].int64_param)
                deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
        except Refusal as refusal:
            hosted.metrics.count(refusal.status)
            raise
        return hosted, self._submit(hosted, inputs, deadline_s)

    @staticmethod
    def _submit(hosted: Hosted, inputs: dict[str, np.ndarray], deadline_s: float | None) -> asyncio.Future[Outputs]:
        try:
            return hosted.batcher.submit(inputs, deadline_s, off_loop=True)
        except QueueFull as error:
            hosted.metrics.count(to_refusal(error).status)
            raise

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

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What a gRPC server is given."""
        methods = {"ModelInfer": _handler(self.infer, self.farewell)}
        for call in CALLS:
            methods[call] = _handler(self._plain(call), self.farewell)
        health = {
            "Check": _handler(self._check, self.farewell),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, response_serializer=_serialize),
        }
        return (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler(HEALTH, health),
        )

    def _plain(self, call: str) -> Callable[[bytes, Context], Awaitable[Message]]:
        request_type = protos.message(f"inference.{call}Request")
        response_type = protos.message(f"inference.{call}Response")
        method = getattr(self, "".join(f"_{c.lower()}" if c.isupper() else c for c in call)[1:])

        async def respond(data: bytes, context: Context) -> Message:  # noqa: ARG001 - gRPC's signature
            fields = method(_parse(request_type, data))
            return response_type(**(await fields if asyncio.iscoroutine(fields) else fields))  # type: ignore[no-any-return]

        return respond

    # grpc.health.v1: its messages look on the wire as StringValue and Int32Value do, one field of that type

    def _status(self, service: str) -> int | None:
        if service in ("", SERVICE):
            return SERVING if self._models.ready else NOT_SERVING
        return None

    async def _check(self, data: bytes, context: Context) -> Message:
        service = _parse(StringValue, data).value
        status = self._status(service)
        if status is None:
            raise Refusal(404, f"unknown service {service!r}: {SERVICE} is known")
        return Int32Value(value=status)

    async def _watch(self, data: bytes, context: Context) -> None:
        service = _parse(StringValue, data).value
        last = None
        while True:
            status = self._status(service) or 3  # SERVICE_UNKNOWN
            if status != last:
                await context.write(Int32Value(value=status))
                last = status
            await asyncio.sleep(WATCH_S)


def _handler(
    method: Callable[[bytes, Context], Awaitable[Message | bytes]], farewell: Farewell
) -> grpc.RpcMethodHandler:
    async def respond(data: bytes, context: Context) -> Message | bytes:
        try:
            response = await method(data, context)
            if farewell.held is not None:
                await farewell.held.wait()
            return response
        except Exception as error:  # every error becomes a status
            refusal = to_refusal(error)
            await refuse_call(context, CODES.get(refusal.status, grpc.StatusCode.INTERNAL), str(refusal))
            raise

    return grpc.unary_unary_rpc_method_handler(respond, response_serializer=_serialize)


def _serialize(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError:
        raise Refusal(400, f"the request is not a {message.DESCRIPTOR.name}") from None


def _read_inputs(request: Any, hosted: Hosted) -> dict[str, np.ndarray]:
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


def _encode(request: Any, hosted: Hosted, outputs: Outputs, known: Known | None) -> bytes:
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


def make_server(
    api: GrpcApi,
    message_bytes: int,
    reuse_port: bool,
    token: str | None,
    connection_age_s: float = 0.0,
    access_log: bool = False,
) -> grpc.aio.Server:
    """A server with the API, not yet started; add its port, then `await server.start()`.

    After `connection_age_s` (0: never) a client is asked to come anew: behind a balancer of connections that moves it
    to other servers, and away from one that is about to end.
    """
    options = (
        *((("grpc.max_connection_age_ms", int(connection_age_s * 1000)),) if connection_age_s else ()),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(reuse_port)),
    )
    server = grpc.aio.server(options=options, interceptors=interceptors(token, access_log))
    server.add_generic_rpc_handlers(api.handlers())
    return server
