"""Open Inference Protocol v2, gRPC."""

from __future__ import annotations

from typing import Any

from contract import DATATYPES
from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Called
from serving.conformance.open_inference import (
    SERVICE,
    close,
    expect_same,
    grpc_answer,
    grpc_outputs_in,
    grpc_request,
)
from serving.conformance.subject import Subject
from serving.protos import message

CASES = Cases("oip-grpc", "open-inference-protocol inference_grpc.md")
AS_TRITON = "gRPC status codes (as Triton does)"


def _ask(subject: Subject, method: str, **fields: Any) -> Any:
    called = subject.call(SERVICE + method, message(f"inference.{method}Request")(**fields))
    expect(called.code == "OK", called)
    return message(f"inference.{method}Response").FromString(called.body)


def _infer(subject: Subject, request: Any) -> Called:
    return subject.call(f"{SERVICE}ModelInfer", request)


@CASES.must("Health")
def live(subject: Subject) -> None:
    """ServerLive says live."""
    expect(_ask(subject, "ServerLive").live, "live: false")


@CASES.must("Health")
def ready(subject: Subject) -> None:
    """ServerReady says ready."""
    expect(_ask(subject, "ServerReady").ready, "ready: false")


@CASES.must("Health")
def model_ready(subject: Subject) -> None:
    """ModelReady says ready for a loaded model."""
    expect(_ask(subject, "ModelReady", name=subject.artifact).ready, "ready: false")


@CASES.must("Server Metadata")
def server_metadata(subject: Subject) -> None:
    """ServerMetadata has a name and a version."""
    metadata = _ask(subject, "ServerMetadata")
    expect(bool(metadata.name) and bool(metadata.version), f"name {metadata.name!r}, version {metadata.version!r}")


@CASES.must("Model Metadata")
def model_metadata(subject: Subject) -> None:
    """ModelMetadata has the model's name, platform and tensors with datatypes of the protocol."""
    metadata = _ask(subject, "ModelMetadata", name=subject.artifact)
    name, platform = metadata.name, metadata.platform
    expect(name == subject.artifact and bool(platform), f"name {name!r}, platform {platform!r}")
    expect(bool(metadata.inputs) and bool(metadata.outputs), "no inputs or no outputs")
    for tensor in [*metadata.inputs, *metadata.outputs]:
        expect(tensor.datatype in {*DATATYPES, "BF16"} and all(n >= -1 for n in tensor.shape), brief(tensor))


@CASES.must("Tensor Data: raw_input_contents")
def raw_contents(subject: Subject) -> None:
    """Raw contents are answered with every output that the metadata names."""
    outputs = grpc_outputs_in(_infer(subject, grpc_request(subject)))
    wanted = {spec.name for spec in subject.outputs_specs}
    expect(outputs.keys() == wanted, f"outputs {sorted(outputs)}, the metadata has {sorted(wanted)}")


@CASES.must("Tensor Data: contents")
def typed_contents(subject: Subject) -> None:
    """Typed contents get the same answer as raw ones."""
    typed = grpc_outputs_in(_infer(subject, grpc_request(subject, raw=False)))
    expect_same(typed, grpc_outputs_in(_infer(subject, grpc_request(subject))))


@CASES.must("ModelInferResponse, id")
def id_comes_back(subject: Subject) -> None:
    """The id of a request comes back, and the model's name."""
    request = grpc_request(subject)
    request.id = "case/42"
    answer = grpc_answer(_infer(subject, request))
    expect(answer.id == "case/42", f"id: {answer.id!r}")
    expect(answer.model_name == subject.artifact, f"model_name: {answer.model_name!r}")


@CASES.must("ModelInferRequest, outputs")
def wanted_outputs(subject: Subject) -> None:
    """A request that names one output gets that one alone."""
    request = grpc_request(subject)
    request.outputs.add(name=subject.outputs_specs[-1].name)
    outputs = grpc_outputs_in(_infer(subject, request))
    expect(list(outputs) == [subject.outputs_specs[-1].name], f"outputs {sorted(outputs)}")


@CASES.must("Tensor Data")
def batch_of_two(subject: Subject) -> None:
    """A batch of two gets the answers that its rows get alone."""
    if not subject.has_free_batch:
        raise NotApplicable("the model has no free batch dimension")
    both, first = (grpc_outputs_in(_infer(subject, grpc_request(subject, count))) for count in (2, 1))
    for name, array in first.items():
        expect(len(both[name]) == 2, f"{name} has shape {both[name].shape}")
        expect(close(both[name][:1], array), f"{name} of the first row differs in a batch")


@CASES.must("ModelInfer: the model's own answer")
def right_answer(subject: Subject) -> None:
    """The answer is the one that the model repository expects."""
    if subject.expected is None:
        raise NotApplicable("no expected outputs: give --repository")
    expect_same(grpc_outputs_in(_infer(subject, grpc_request(subject, 2))), subject.expected)


@CASES.should("Tensor Data: raw or typed, never both (as Triton does)")
def raw_and_typed(subject: Subject) -> None:
    """A request with raw and typed contents is refused."""
    request = grpc_request(subject, raw=False)
    request.raw_input_contents.extend(grpc_request(subject).raw_input_contents)
    expect(_infer(subject, request).code == "INVALID_ARGUMENT", _infer(subject, request))


@CASES.should("Tensor Data: as many raw contents as inputs (KServe SDK)")
def raw_count(subject: Subject) -> None:
    """A request with more raw contents than inputs is refused."""
    request = grpc_request(subject)
    request.raw_input_contents.append(b"\0\0\0\0")
    expect(_infer(subject, request).code == "INVALID_ARGUMENT", _infer(subject, request))


def _refused(subject: Subject, request: Any, code: str, naming: str = "") -> None:
    called = _infer(subject, request)
    expect(called.code == code and bool(called.details), called)
    expect(naming in called.details, f"the message doesn't name {naming!r}: {called.details}")


@CASES.should(AS_TRITON)
def unknown_model(subject: Subject) -> None:
    """An unknown model is NOT_FOUND."""
    request = grpc_request(subject)
    request.model_name = "no-such-model"
    _refused(subject, request, "NOT_FOUND")


@CASES.should(AS_TRITON)
def unknown_version(subject: Subject) -> None:
    """An unknown version is NOT_FOUND."""
    request = grpc_request(subject)
    request.model_version = "987654"
    _refused(subject, request, "NOT_FOUND")


@CASES.should(AS_TRITON)
def metadata_of_unknown_model(subject: Subject) -> None:
    """The metadata of an unknown model is NOT_FOUND."""
    called = subject.call(f"{SERVICE}ModelMetadata", message("inference.ModelMetadataRequest")(name="no-such-model"))
    expect(called.code == "NOT_FOUND", called)


@CASES.should(AS_TRITON)
def raw_size(subject: Subject) -> None:
    """Raw contents that don't fill their shape are INVALID_ARGUMENT and the message names the input."""
    request = grpc_request(subject)
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    _refused(subject, request, "INVALID_ARGUMENT", subject.first.name)


@CASES.should(AS_TRITON)
def typed_size(subject: Subject) -> None:
    """Typed contents that don't fill their shape are INVALID_ARGUMENT and the message names the input."""
    if not subject.first.shape:
        raise NotApplicable("the input is a scalar, which has no size")
    request = grpc_request(subject, raw=False)
    request.inputs[0].shape[0] += 1
    _refused(subject, request, "INVALID_ARGUMENT", subject.first.name)


@CASES.should(AS_TRITON)
def wrong_shape(subject: Subject) -> None:
    """A shape that the model has not is INVALID_ARGUMENT and the message names the input."""
    request = grpc_request(subject)
    request.inputs[0].shape.extend([1, 1])
    _refused(subject, request, "INVALID_ARGUMENT", subject.first.name)


@CASES.should(AS_TRITON)
def other_datatype(subject: Subject) -> None:
    """A datatype other than the model's is INVALID_ARGUMENT and the message names the input."""
    request = grpc_request(subject)
    request.inputs[0].datatype = "INT64" if subject.first.datatype != "INT64" else "FP32"
    _refused(subject, request, "INVALID_ARGUMENT", subject.first.name)


@CASES.should(AS_TRITON)
def unknown_input(subject: Subject) -> None:
    """An input that the model has not is INVALID_ARGUMENT and the message names it."""
    request = grpc_request(subject)
    request.inputs[0].name = "no_such_input"
    _refused(subject, request, "INVALID_ARGUMENT", "no_such_input")


@CASES.should(AS_TRITON)
def no_inputs(subject: Subject) -> None:
    """A request without inputs is INVALID_ARGUMENT."""
    _refused(subject, message("inference.ModelInferRequest")(model_name=subject.artifact), "INVALID_ARGUMENT")


@CASES.should(AS_TRITON)
def unknown_output(subject: Subject) -> None:
    """An output that the model has not is INVALID_ARGUMENT and the message names it."""
    request = grpc_request(subject)
    request.outputs.add(name="no_such_output")
    _refused(subject, request, "INVALID_ARGUMENT", "no_such_output")


@CASES.should("gRPC status codes")
def unknown_method(subject: Subject) -> None:
    """A method that the service has not is UNIMPLEMENTED."""
    expect(subject.call(f"{SERVICE}NoSuchMethod", b"").code == "UNIMPLEMENTED", subject.call(f"{SERVICE}NoSuch", b""))


@CASES.should("gRPC status codes")
def no_message(subject: Subject) -> None:
    """Bytes that are no message are refused, and the next request is answered."""
    called = subject.call(f"{SERVICE}ModelInfer", b"\xff\xff\xff no message")
    expect(called.code not in ("OK", "UNKNOWN", "UNAVAILABLE"), called)
    expect(bool(grpc_outputs_in(_infer(subject, grpc_request(subject)))), "no outputs")


@CASES.report("Tensor Data: the server's choice")
def contents_of_answers(subject: Subject) -> str:
    """Whether answers to typed requests are raw or typed."""
    answer = grpc_answer(_infer(subject, grpc_request(subject, raw=False)))
    return "raw" if answer.raw_output_contents else "typed"


@CASES.report("Health")
def unknown_model_ready(subject: Subject) -> str:
    """ModelReady of an unknown model."""
    called = subject.call(f"{SERVICE}ModelReady", message("inference.ModelReadyRequest")(name="no-such-model"))
    return brief(
        called if called.code != "OK" else message("inference.ModelReadyResponse").FromString(called.body).ready
    )
