"""TensorFlow Serving's gRPC Predict with any model."""

from __future__ import annotations

from typing import Any

import numpy as np

from contract import DATATYPES
from serving.conformance.case import Cases, NotApplicable, expect
from serving.conformance.exchange import Called
from serving.conformance.open_inference import expect_same
from serving.conformance.subject import Subject
from serving.protos import message

CASES = Cases("tfserving", "TensorFlow Serving predict.proto, predict_util.cc")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
# tensorflow/core/framework/types.proto: the enum's number, and the field of TensorProto with such values
TYPES = {
    "FP32": (1, "float_val"),
    "FP64": (2, "double_val"),
    "INT32": (3, "int_val"),
    "UINT8": (4, "int_val"),
    "INT16": (5, "int_val"),
    "INT8": (6, "int_val"),
    "INT64": (9, "int64_val"),
    "BOOL": (10, "bool_val"),
}


def _request(subject: Subject, count: int = 1, as_content: bool = True) -> Any:
    if not subject.rpc:
        raise NotApplicable("no gRPC address: give --grpc host:port")
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = subject.artifact
    for spec in subject.inputs_specs:
        if spec.datatype not in TYPES:
            raise NotApplicable(f"the cases can't send {spec.datatype}")
        array = np.ascontiguousarray(subject.sample(count)[spec.name])
        tensor = request.inputs[spec.name]
        tensor.dtype, field = TYPES[spec.datatype]
        tensor.tensor_shape.SetInParent()
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if as_content:
            tensor.tensor_content = array.tobytes()
        else:
            getattr(tensor, field).extend(array.ravel().tolist())
    return request


def _answer(called: Called) -> Any:
    expect(called.code == "OK", called)
    return message("tensorflow.serving.PredictResponse").FromString(called.body)


def _outputs(subject: Subject, called: Called) -> dict[str, np.ndarray]:
    arrays = {}
    for spec in subject.outputs_specs:
        outputs = _answer(called).outputs
        expect(spec.name in outputs, f"outputs {sorted(outputs)}")
        tensor = outputs[spec.name]
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        values = getattr(tensor, TYPES[spec.datatype][1])
        raw = np.frombuffer(tensor.tensor_content, DATATYPES[spec.datatype]) if tensor.tensor_content else values
        arrays[spec.name] = np.asarray(raw, DATATYPES[spec.datatype]).reshape(shape)
    return arrays


@CASES.must("PredictRequest.inputs")
def predict(subject: Subject) -> None:
    """Predict answers every output of the signature."""
    expect(bool(_outputs(subject, subject.call(PREDICT, _request(subject)))), "no outputs")


@CASES.must("TensorProto")
def typed_values(subject: Subject) -> None:
    """Typed values and tensor_content get the same answer."""
    typed, content = (_outputs(subject, subject.call(PREDICT, _request(subject, 1, form))) for form in (False, True))
    expect_same(typed, content)


@CASES.must("PredictResponse.model_spec")
def model_spec(subject: Subject) -> None:
    """The answer's model_spec has the version and the signature that were used."""
    spec = _answer(subject.call(PREDICT, _request(subject))).model_spec
    expect(spec.name == subject.artifact, f"name: {spec.name!r}")
    expect(spec.version.value > 0 and spec.signature_name == "serving_default", str(spec))


@CASES.must("Predict: the model's own answer")
def right_answer(subject: Subject) -> None:
    """The gRPC answer is the one that the model repository expects."""
    if subject.expected is None:
        raise NotApplicable("no expected outputs: give --repository")
    expect_same(_outputs(subject, subject.call(PREDICT, _request(subject, 2))), subject.expected)


@CASES.must("PredictRequest.output_filter")
def output_filter(subject: Subject) -> None:
    """output_filter leaves the outputs that it names."""
    request = _request(subject)
    request.output_filter.append(subject.outputs_specs[-1].name)
    names = sorted(_answer(subject.call(PREDICT, request)).outputs)
    expect(names == [subject.outputs_specs[-1].name], f"outputs {names}")


def _refused(subject: Subject, request: Any, code: str, text: str) -> None:
    called = subject.call(PREDICT, request)
    expect(called.code == code and text in called.details, called)


@CASES.should("server_core.cc")
def missing_model_spec(subject: Subject) -> None:
    """A request without model_spec is INVALID_ARGUMENT Missing ModelSpec."""
    request = _request(subject)
    request.ClearField("model_spec")
    _refused(subject, request, "INVALID_ARGUMENT", "Missing ModelSpec")


@CASES.should("server_core.cc")
def empty_name(subject: Subject) -> None:
    """An empty name is INVALID_ARGUMENT ModelSpec has no name specified."""
    request = _request(subject)
    request.model_spec.name = ""
    request.model_spec.signature_name = "serving_default"
    _refused(subject, request, "INVALID_ARGUMENT", "ModelSpec has no name specified.")


@CASES.should("server_core.cc")
def unknown_model(subject: Subject) -> None:
    """An unknown model is NOT_FOUND Servable not found for request."""
    request = _request(subject)
    request.model_spec.name = "no_such_model"
    _refused(subject, request, "NOT_FOUND", "Servable not found for request: Latest(no_such_model)")


@CASES.should("predict_util.cc")
def unknown_signature(subject: Subject) -> None:
    """An unknown signature is FAILED_PRECONDITION, though REST says 400."""
    request = _request(subject)
    request.model_spec.signature_name = "nosuch"
    _refused(subject, request, "FAILED_PRECONDITION", 'Serving signature key "nosuch" not found.')


@CASES.should("predict_util.cc")
def no_inputs(subject: Subject) -> None:
    """Missing inputs are INVALID_ARGUMENT and named."""
    request = _request(subject)
    request.ClearField("inputs")
    _refused(subject, request, "INVALID_ARGUMENT", "input size does not match signature: 0!=")


@CASES.should("predict_util.cc")
def unknown_output(subject: Subject) -> None:
    """An output_filter with an unknown output is INVALID_ARGUMENT and names it."""
    request = _request(subject)
    request.output_filter.append("nosuch")
    _refused(subject, request, "INVALID_ARGUMENT", "output tensor alias not found in signature: nosuch")


@CASES.should("predict_util.cc")
def output_twice(subject: Subject) -> None:
    """An output named twice in output_filter is INVALID_ARGUMENT."""
    request = _request(subject)
    request.output_filter.extend([subject.outputs_specs[0].name] * 2)
    _refused(subject, request, "INVALID_ARGUMENT", "duplicate output tensor alias:")
