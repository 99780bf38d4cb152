"""TorchServe's inference API, gRPC."""

from __future__ import annotations

from typing import Any

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.subject import Subject, to_json
from serving.protos import message

CASES = Cases("torchserve", "TorchServe inference.proto")
SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"


def _request(subject: Subject, **fields: Any) -> Any:
    if not subject.rpc:
        raise NotApplicable("no gRPC address: give --grpc host:port")
    body = to_json({"inputs": subject.sample()})
    fields = {"model_name": subject.artifact, "input": {"data": body}, **fields}
    return message("org.pytorch.serve.grpc.inference.PredictionsRequest")(**fields)


@CASES.must("InferenceAPIsService.Ping")
def ping(subject: Subject) -> None:
    """Ping answers Healthy."""
    if not subject.rpc:
        raise NotApplicable("no gRPC address: give --grpc host:port")
    called = subject.call(f"{SERVICE}Ping", b"")
    expect(called.code == "OK", called)
    health = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse").FromString(called.body).health
    expect("Healthy" in health, health)


@CASES.must("InferenceAPIsService.Predictions")
def predictions(subject: Subject) -> None:
    """Predictions answers."""
    called = subject.call(f"{SERVICE}Predictions", _request(subject))
    expect(called.code == "OK", called)
    answer = message("org.pytorch.serve.grpc.inference.PredictionResponse").FromString(called.body)
    expect(bool(answer.prediction), "an empty prediction")


@CASES.should("GRPCUtils.java")
def unknown_model(subject: Subject) -> None:
    """An unknown model is INTERNAL and named."""
    called = subject.call(f"{SERVICE}Predictions", _request(subject, model_name="nosuch"))
    expect(called.code == "INTERNAL" and "nosuch" in called.details, called)


@CASES.should("GRPCUtils.java")
def bad_input(subject: Subject) -> None:
    """An input that the handler refuses with 400 is INVALID_ARGUMENT."""
    called = subject.call(f"{SERVICE}Predictions", _request(subject, input={"data": b"{this is no JSON"}))
    expect(called.code == "INVALID_ARGUMENT", called)


@CASES.report("GRPCUtils.java")
def empty_name(subject: Subject) -> str:
    """An empty model name."""
    return brief(subject.call(f"{SERVICE}Predictions", _request(subject, model_name="")), 100)
