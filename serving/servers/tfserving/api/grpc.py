"""TensorFlow Serving's PredictionService and ModelService over gRPC.

Sources of the behaviour: model_servers/{prediction,model}_service_impl.cc, servables/tensorflow/{predict_util,
multi_inference,get_model_metadata_impl}.cc of github.com/tensorflow/serving. A client that cancels, or whose deadline
passes, takes its request out of the queue: the handler is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from contract import Tensors
from serving.hosting.batcher import Outputs
from serving.hosting.server_timing import REQUEST_HEADER, RESPONSE_HEADER, server_timing
from serving.servers.tfserving.api import examples
from serving.servers.tfserving.api.example_results import fill_classes, fill_values
from serving.servers.tfserving.api.inference import CLASSIFY, REGRESS, Caller, Inference, check_filter, complete_inputs
from serving.servers.tfserving.api.metadata import metadata_message, missing_spec, spec_of, status_message
from serving.servers.tfserving.api.predict_request import (
    LongPredictRequest,
    PredictRequest,
    parse_long_predict,
    parse_predict,
)
from serving.servers.tfserving.model.execution import status_of
from serving.servers.tfserving.model.model_configs import ModelConfig, check_config
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.model.signatures import DEFAULT, Signature
from serving.servers.tfserving.model.tensor_protos import to_proto
from serving.servers.tfserving.model.versions import Library
from serving.servers.tfserving.status import Status, invalid
from serving.transport.grpc.call import Call, Method
from serving.transport.grpc.status import Code, RpcError
from serving.transport.offload import LONG_BYTES, run_long

Answer = Callable[[Any, Call], Awaitable[Any]]
Refused = Callable[[Any, Status], None]
Reload = Callable[[list[ModelConfig]], Awaitable[None]]


class GrpcApi:
    """Answers the calls of both services."""

    def __init__(self, library: Library, inference: Inference, reload: Reload, as_content: bool) -> None:
        self._library = library
        self._inference = inference
        self._reload = reload
        self._as_content = as_content

    def methods(self) -> dict[str, Method]:
        """What a gRPC server is given, by path."""
        prediction = {
            "Predict": self._method(predict_pb2.PredictRequest, self.predict, self._count_refusal),
            "Classify": self._method(classification_pb2.ClassificationRequest, self.classify, self._count_refusal),
            "Regress": self._method(regression_pb2.RegressionRequest, self.regress, self._count_refusal),
            "MultiInference": self._method(inference_pb2.MultiInferenceRequest, self.multi_inference),
            "GetModelMetadata": self._method(get_model_metadata_pb2.GetModelMetadataRequest, self.get_model_metadata),
        }
        model = {
            "GetModelStatus": self._method(get_model_status_pb2.GetModelStatusRequest, self.get_model_status),
            "HandleReloadConfigRequest": self._method(model_management_pb2.ReloadConfigRequest, self.reload_config),
        }
        services = {"PredictionService": prediction, "ModelService": model}
        return {
            f"/tensorflow.serving.{service}/{name}": method
            for service, methods in services.items()
            for name, method in methods.items()
        }

    def _method(self, message: Any, answer: Answer, refused: Refused | None = None) -> Method:
        """A unary method for `message`; `refused` is told of the requests that fail."""

        async def respond(body: bytes | memoryview, call: Call) -> bytes:
            try:
                request = await _parse(message, body)
            except DecodeError:
                raise invalid(f"the request is no {message.DESCRIPTOR.full_name}") from None
            try:
                response = await answer(request, call)
                return response if isinstance(response, bytes) else bytes(response.SerializeToString())
            except Exception as error:
                if refused is not None:
                    refused(request, status_of(error))
                raise

        return Method(respond)

    # PredictionService

    async def predict(self, request: PredictRequest, call: Call) -> bytes:
        """Run any signature on tensors."""
        message = request.message
        servable = self._find(message)
        signature = servable.grpc_signature(message.model_spec.signature_name)
        if request.tensors.keys() != signature.inputs.keys():
            complete_inputs(signature, dict.fromkeys(request.tensors, np.empty(0)))  # names are refused before values
        wanted = list(message.output_filter)
        check_filter(signature, wanted)
        if isinstance(request, LongPredictRequest):
            inputs: Tensors = await run_long(request.read, signature.inputs)
            servable = self._find(message)  # it may have been swapped meanwhile
            signature = servable.grpc_signature(signature.name)
        else:
            inputs = request.read(signature.inputs)

        def write(outputs: Outputs) -> bytes:
            response = predict_pb2.PredictResponse()
            spec_of(response.model_spec, servable, signature.name)
            for alias, array in outputs.items():
                to_proto(array, response.outputs[alias], self._as_content)
            return bytes(response.SerializeToString())

        def answer(outputs: Outputs) -> bytes | asyncio.Future[bytes]:
            add_timing(call, (outputs,))
            return run_long(write, outputs) if outputs.size_bytes >= LONG_BYTES else write(outputs)

        caller = _caller("Predict", call)
        return bytes(await self._inference.predict(servable, signature, inputs, caller, answer, wanted))

    async def classify(self, request: Any, call: Call) -> Any:
        """Classify examples."""
        servable = self._find(request)
        signature = servable.example_signature(request.model_spec.signature_name)
        wanted = examples.classify_outputs(signature)

        def answer(outputs: Outputs, count: int) -> Any:
            response = classification_pb2.ClassificationResponse()
            spec_of(response.model_spec, servable, signature.name)
            fill_classes(response.result, outputs, count)
            add_timing(call, (outputs,))
            return response

        caller = _caller("Classify", call)
        return await self._inference.examples(servable, signature, await _rows(request.input), caller, wanted, answer)

    async def regress(self, request: Any, call: Call) -> Any:
        """Regress examples."""
        servable = self._find(request)
        signature = servable.example_signature(request.model_spec.signature_name)
        wanted = examples.regress_outputs(signature)

        def answer(outputs: Outputs, count: int) -> Any:
            response = regression_pb2.RegressionResponse()
            spec_of(response.model_spec, servable, signature.name)
            fill_values(response.result, outputs, count)
            add_timing(call, (outputs,))
            return response

        caller = _caller("Regress", call)
        return await self._inference.examples(servable, signature, await _rows(request.input), caller, wanted, answer)

    async def multi_inference(self, request: Any, call: Call) -> Any:
        """Several classifications and regressions of the same examples by one model."""
        spec = request.tasks[0].model_spec if request.tasks else None
        servable = self._find_spec(spec if spec is not None else inference_pb2.InferenceTask().model_spec)
        plans = _plan(request, servable)
        rows = await _rows(request.input) if plans else np.empty(0, object)
        response, runs = inference_pb2.MultiInferenceResponse(), []
        for task, signature, wanted in plans:
            result = response.results.add()
            spec_of(result.model_spec, servable, signature.name)
            caller, method = _caller("MultiInference", call, counted=False), task.method_name

            def answer(outputs: Outputs, count: int, method: str = method, result: Any = result) -> None:
                if method == CLASSIFY:
                    fill_classes(result.classification_result, outputs, count)
                else:
                    fill_values(result.regression_result, outputs, count)
                runs.append(outputs)

            await self._inference.examples(servable, signature, rows, caller, wanted, answer)
        if plans:
            self._inference.count_examples(servable.name, len(rows))
        add_timing(call, runs)
        return response

    async def get_model_metadata(self, request: Any, call: Call) -> Any:
        """The signatures of a model."""
        if not request.HasField("model_spec"):
            raise missing_spec()
        if not request.metadata_field or any(field != "signature_def" for field in request.metadata_field):
            metadata_message(None, request.metadata_field)  # type: ignore[arg-type] # refuses before it looks
        return metadata_message(self._find(request), request.metadata_field)

    # ModelService

    async def get_model_status(self, request: Any, call: Call) -> Any:
        """The state of each version."""
        if not request.HasField("model_spec"):
            raise missing_spec()
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return status_message(self._library.states(spec.name, version))

    async def reload_config(self, request: Any, call: Call) -> Any:
        """Serve other models from now on; answers when they are in service."""
        await self._reload(check_config(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _find(self, request: Any) -> Servable:
        if not request.HasField("model_spec"):
            raise missing_spec()
        return self._find_spec(request.model_spec)

    def _find_spec(self, spec: Any) -> Servable:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        label = spec.version_label if spec.HasField("version_label") else None
        return self._library.find(spec.name, version, label)

    def _count_refusal(self, request: Any, status: Status) -> None:
        self._inference.telemetry.count("request_count", request.model_spec.name, status.code)


async def _parse(message: Any, body: bytes | memoryview) -> Any:
    """A request; raises DecodeError."""
    if message is predict_pb2.PredictRequest:
        return await run_long(parse_long_predict, body) if len(body) >= LONG_BYTES else parse_predict(body)
    return await run_long(message.FromString, body) if len(body) >= LONG_BYTES else message.FromString(body)


async def _rows(message: Any) -> np.ndarray:
    """The examples of an `Input`, serialized."""
    if message.ByteSize() >= LONG_BYTES:
        return await run_long(examples.serialized_examples, message)
    return examples.serialized_examples(message)


def add_timing(call: Call, runs: Sequence[Outputs]) -> None:
    """Where the time of each run went, as trailing metadata, to a client that asked for it."""
    if REQUEST_HEADER in call.metadata:
        call.trailing = tuple((RESPONSE_HEADER.lower(), server_timing(outputs)) for outputs in runs)


def refuse(error: BaseException) -> RpcError:
    """The status that answers an error."""
    if isinstance(error, RpcError):
        return error
    status = status_of(error)
    return RpcError(Code[status.code], status.grpc_message)


def _plan(request: Any, servable: Servable) -> list[tuple[Any, Signature, list[str]]]:
    """The tasks with their signatures and outputs, all checked before one runs."""
    plans, seen = [], set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = servable.session.signatures.get(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            wanted = examples.classify_outputs(signature)
        elif task.method_name == REGRESS:
            wanted = examples.regress_outputs(signature)
        else:
            raise Status("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        plans.append((task, signature, wanted))
    return plans


def _caller(api: str, call: Call, *, counted: bool = True) -> Caller:
    return Caller("GRPC", api, time.perf_counter(), call.deadline_s, counted)
