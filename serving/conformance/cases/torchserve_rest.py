"""TorchServe's inference API, REST: health, predictions, and the shape of its errors.

A prediction's body is the handler's affair: the samples are sent as this project's handler takes them, so the cases
that need one apply to archives of this project.
"""

from __future__ import annotations

import numpy as np

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Reply, ask
from serving.conformance.open_inference import expect_same
from serving.conformance.subject import Subject

CASES = Cases("torchserve", "TorchServe inference_api.md")
CODE = "HttpRequestHandler.java"


def _predict(subject: Subject, path: str = "", count: int = 1) -> Reply:
    return subject.post(path or f"/predictions/{subject.artifact}", {"inputs": subject.sample(count)})


def _outputs(subject: Subject, reply: Reply) -> dict[str, np.ndarray]:
    expect(reply.status == 200, reply)
    outputs = reply.document.get("outputs") if isinstance(reply.document, dict) else None
    if not isinstance(outputs, dict):
        raise NotApplicable("the archive has a handler of its own")
    return {spec.name: np.asarray(outputs[spec.name], spec.dtype) for spec in subject.outputs_specs}


def _error(reply: Reply, status: int, kind: str, text: str = "") -> None:
    error = reply.document
    expect(reply.status == status and isinstance(error, dict), reply)
    expect(error.get("code") == status and error.get("type") == kind and text in str(error.get("message")), reply)


@CASES.must("Health check API")
def ping(subject: Subject) -> None:
    """GET /ping answers 200 with status Healthy."""
    reply = subject.get("/ping")
    expect(reply.status == 200 and reply.document == {"status": "Healthy"}, reply)


@CASES.must("Predictions API")
def predictions(subject: Subject) -> None:
    """POST /predictions/{model} answers 200."""
    expect(bool(_outputs(subject, _predict(subject))), "no outputs")


@CASES.must("Predictions API")
def predictions_by_version(subject: Subject) -> None:
    """POST /predictions/{model}/{version} answers as the default version does."""
    by_version = _predict(subject, f"/predictions/{subject.artifact}/1.0")
    expect_same(_outputs(subject, by_version), _outputs(subject, _predict(subject)))


@CASES.must("Predictions API: the model's own answer")
def right_answer(subject: Subject) -> None:
    """The answer is the one that the model repository expects."""
    if subject.expected is None:
        raise NotApplicable("no expected outputs: give --repository")
    expect_same(_outputs(subject, _predict(subject, count=2)), subject.expected)


@CASES.must("API Description")
def description(subject: Subject) -> None:
    """OPTIONS / answers an OpenAPI document."""
    reply = ask(subject.rest, "OPTIONS", "/")
    expect(reply.status == 200 and "openapi" in (reply.document or {}), reply)


@CASES.must("KServe Inference API, v1")
def kserve_v1(subject: Subject) -> None:
    """POST /v1/models/{model}:predict reaches the model."""
    reply = subject.post(f"/v1/models/{subject.artifact}:predict", {"inputs": subject.sample()})
    expect(reply.status == 200, reply)


@CASES.should(f"{CODE}, InferenceRequestHandler.java")
def unknown_model(subject: Subject) -> None:
    """An unknown model is 404 ModelNotFoundException with code, type and message."""
    _error(_predict(subject, "/predictions/nosuch"), 404, "ModelNotFoundException", "Model not found: nosuch")


@CASES.should(f"{CODE}, InferenceRequestHandler.java")
def unknown_version(subject: Subject) -> None:
    """An unknown version is 404 ModelVersionNotFoundException."""
    _error(_predict(subject, f"/predictions/{subject.artifact}/98.7"), 404, "ModelVersionNotFoundException")


@CASES.should(CODE)
def unknown_path(subject: Subject) -> None:
    """An unknown path is 404 ResourceNotFoundException."""
    _error(subject.get("/no/such/path"), 404, "ResourceNotFoundException", "Requested resource is not found")


@CASES.should("configuration.md: the management API has a port of its own")
def no_management(subject: Subject) -> None:
    """The inference port does not register or remove models."""
    for method, path in (("POST", "/models?url=x.mar"), ("DELETE", f"/models/{subject.artifact}")):
        reply = ask(subject.rest, method, path, b"" if method == "POST" else None)
        expect(reply.status in (404, 405), f"{method} {path}: {reply}")


@CASES.should("RFC 9110, 15.5: a mistake of the client is 4xx")
def bad_input(subject: Subject) -> None:
    """A body that the model can't take is an error of the client."""
    reply = subject.post(f"/predictions/{subject.artifact}", b"{this is no JSON")
    expect(400 <= reply.status < 500, reply)


@CASES.should("NettyUtils.java")
def request_id(subject: Subject) -> None:
    """Answers carry x-request-id and are not cached."""
    headers = _predict(subject).headers
    expect("x-request-id" in headers, sorted(headers))
    expect("no-cache" in headers.get("cache-control", ""), headers.get("cache-control"))


@CASES.report(CODE)
def wrong_method(subject: Subject) -> str:
    """A method that a path has not."""
    return brief(ask(subject.rest, "DELETE", "/ping"), 100)


@CASES.report("configuration.md, max_request_size")
def large_body(subject: Subject) -> str:
    """A body of 8 MB, more than the default limit of 6.5 MB."""
    return brief(subject.post(f"/predictions/{subject.artifact}", b" " * 8_000_000), 100)


@CASES.report("serve#1142")
def wrong_shape(subject: Subject) -> str:
    """An input of the wrong shape."""
    inputs = {name: array.ravel()[:1] for name, array in subject.sample().items()}
    return brief(subject.post(f"/predictions/{subject.artifact}", {"inputs": inputs}), 120)
