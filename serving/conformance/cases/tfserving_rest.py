"""TensorFlow Serving's REST API with any model: predict in rows and columns, status, metadata, and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Reply, ask
from serving.conformance.open_inference import expect_same
from serving.conformance.subject import Subject, to_json

CASES = Cases("tfserving", "TensorFlow Serving api_rest.md")
CODE = "http_rest_api_util.cc"


def _path(subject: Subject, rest: str = "") -> str:
    return f"/v1/models/{subject.artifact}{rest}"


def _predict(subject: Subject, body: Any, **headers: str) -> Reply:
    return subject.post(_path(subject, ":predict"), body, headers)


def _rows(subject: Subject, count: int = 1) -> list[Any]:
    """The samples in the row format: bare values of a single input, else objects."""
    sample = subject.sample(count)
    if len(sample) == 1:
        return list(sample[subject.first.name])
    return [{name: array[row] for name, array in sample.items()} for row in range(count)]


def _row_outputs(subject: Subject, reply: Reply) -> dict[str, np.ndarray]:
    expect(reply.status == 200, reply)
    rows: Any = (reply.document or {}).get("predictions")
    expect(isinstance(rows, list), reply)
    specs = subject.outputs_specs
    if len(specs) == 1:
        return {specs[0].name: np.asarray(rows, specs[0].dtype)}
    return {spec.name: np.asarray([row[spec.name] for row in rows], spec.dtype) for spec in specs}


def _column_outputs(subject: Subject, reply: Reply) -> dict[str, np.ndarray]:
    expect(reply.status == 200, reply)
    outputs: Any = (reply.document or {}).get("outputs")
    expect(outputs is not None, reply)
    specs = subject.outputs_specs
    if len(specs) == 1:
        return {specs[0].name: np.asarray(outputs, specs[0].dtype)}
    return {spec.name: np.asarray(outputs[spec.name], spec.dtype) for spec in specs}


def _refused(reply: Reply, status: int, text: str) -> None:
    expect(reply.status == status, reply)
    expect(text in reply.error, f"{reply.error or reply}")


@CASES.must("Predict API, row format")
def row_format(subject: Subject) -> None:
    """instances are answered by predictions, one a row."""
    outputs = _row_outputs(subject, _predict(subject, {"instances": _rows(subject)}))
    expect(all(len(array) == 1 for array in outputs.values()), {name: array.shape for name, array in outputs.items()})


@CASES.must("Predict API, column format")
def column_format(subject: Subject) -> None:
    """inputs are answered by outputs, with the same values as in rows."""
    sample = subject.sample()
    named = _predict(subject, {"inputs": sample})
    expect_same(
        _column_outputs(subject, named), _row_outputs(subject, _predict(subject, {"instances": _rows(subject)}))
    )


@CASES.must("Predict API, column format")
def bare_column(subject: Subject) -> None:
    """The only input of a model may come without its name."""
    if len(subject.inputs_specs) > 1:
        raise NotApplicable("the model has several inputs")
    sample = subject.sample()
    bare = _column_outputs(subject, _predict(subject, {"inputs": sample[subject.first.name]}))
    expect_same(bare, _column_outputs(subject, _predict(subject, {"inputs": sample})))


@CASES.must("Predict API, row format")
def named_rows(subject: Subject) -> None:
    """Rows may be objects with the inputs' names."""
    row = {name: array[0] for name, array in subject.sample().items()}
    outputs = _row_outputs(subject, _predict(subject, {"instances": [row]}))
    expect_same(outputs, _row_outputs(subject, _predict(subject, {"instances": _rows(subject)})))


@CASES.must("Predict API: the model's own answer")
def right_answer(subject: Subject) -> None:
    """The answer is the one that the model repository expects."""
    if subject.expected is None:
        raise NotApplicable("no expected outputs: give --repository")
    expect_same(_row_outputs(subject, _predict(subject, {"instances": _rows(subject, 2)})), subject.expected)


@CASES.must("Predict API, signature_name")
def signature(subject: Subject) -> None:
    """The default signature can be named."""
    body = {"signature_name": "serving_default", "instances": _rows(subject)}
    expect(bool(_row_outputs(subject, _predict(subject, body))), "no outputs")


@CASES.must("Model status API")
def status(subject: Subject) -> None:
    """The status lists versions as strings with state and error code."""
    reply = subject.get(_path(subject))
    expect(reply.status == 200, reply)
    versions = (reply.document or {}).get("model_version_status") or []
    expect(any(v.get("state") == "AVAILABLE" for v in versions), reply)
    expect(all(isinstance(v.get("version"), str) and v["status"]["error_code"] for v in versions), reply)


@CASES.must("Model status API")
def version_path(subject: Subject) -> None:
    """A version has a status and predicts under its own path."""
    version = subject.get(_path(subject)).document["model_version_status"][0]["version"]
    path = _path(subject, f"/versions/{version}")
    expect(subject.get(path).status == 200, subject.get(path))
    reply = subject.post(f"{path}:predict", {"instances": _rows(subject)})
    expect(reply.status == 200, reply)


@CASES.must("Model Metadata API")
def metadata(subject: Subject) -> None:
    """The metadata has the model's name and its default signature with inputs and outputs."""
    reply = subject.get(_path(subject, "/metadata"))
    expect(reply.status == 200 and isinstance(reply.document, dict), reply)
    expect(reply.document["model_spec"]["name"] == subject.artifact, reply.document["model_spec"])
    signature = reply.document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    expect(set(signature["inputs"]) == {spec.name for spec in subject.inputs_specs}, sorted(signature["inputs"]))
    expect(set(signature["outputs"]) == {spec.name for spec in subject.outputs_specs}, sorted(signature["outputs"]))


@CASES.must("Encoding: errors")
def error_body(subject: Subject) -> None:
    """An error is application/json with a key error."""
    reply = _predict(subject, {})
    expect(reply.status == 400 and bool(reply.error), reply)
    expect(reply.headers.get("content-type", "").startswith("application/json"), reply.headers.get("content-type"))


@CASES.should(f"{CODE}, FillPredictRequestFromJson")
def unknown_model(subject: Subject) -> None:
    """An unknown model is 404 Servable not found for request: Latest(name)."""
    reply = subject.post("/v1/models/no_such_model:predict", {"instances": _rows(subject)})
    _refused(reply, 404, "Servable not found for request: Latest(no_such_model)")


@CASES.should(f"{CODE}, FillPredictRequestFromJson")
def unknown_version(subject: Subject) -> None:
    """An unknown version is 404 Servable not found for request: Specific(name, version)."""
    reply = subject.post(_path(subject, "/versions/987654:predict"), {"instances": _rows(subject)})
    _refused(reply, 404, f"Servable not found for request: Specific({subject.artifact}, 987654)")


@CASES.should("get_model_status_impl.cc")
def status_of_unknown(subject: Subject) -> None:
    """The status of an unknown model or version is 404 and says so."""
    _refused(subject.get("/v1/models/no_such_model"), 404, "Could not find any versions of model no_such_model")
    _refused(subject.get(_path(subject, "/versions/987654")), 404, "Could not find version 987654 of model")


@CASES.should("server_core.cc")
def unknown_label(subject: Subject) -> None:
    """An unknown label is 400 Unrecognized servable version label."""
    reply = subject.post(_path(subject, "/labels/nosuch:predict"), {"instances": _rows(subject)})
    _refused(reply, 400, "Unrecognized servable version label: nosuch")


@CASES.should(f"{CODE}, order of evaluation")
def body_before_model(subject: Subject) -> None:
    """An empty body for an unknown model is a parse error, 400."""
    reply = subject.post("/v1/models/no_such_model:predict", b"")
    _refused(reply, 400, "JSON Parse error: The document is empty")


REFUSALS: tuple[tuple[str, Any, str], ...] = (
    ("An empty body", b"", "JSON Parse error: The document is empty"),
    ("A body that is no JSON", b"instances = [1]", "JSON Parse error: Invalid value."),
    ("A body that is no object", b"[1]", "Is not object"),
    ("An object without instances and inputs", {}, "Missing 'inputs' or 'instances' key"),
    ("Both instances and inputs", {"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances'"),
    ("instances that are no list", {"instances": 1}, "Expecting 'instances' to be an list/array"),
    ("Empty instances", {"instances": []}, "No values in 'instances' array"),
    ("A signature_name that is no string", {"signature_name": 1, "instances": [1]}, "must be a string value."),
    ("An unknown signature", {"signature_name": "x", "instances": [1]}, 'Serving signature name: "x" not found'),
)


def _refusal(body: Any, text: str) -> Any:
    def check(subject: Subject) -> None:
        _refused(_predict(subject, body), 400, text)

    return check


for _claim, _body, _text in REFUSALS:
    CASES.add(f"{_claim} is 400 {_text}", "SHOULD", CODE, _refusal(_body, _text))


@CASES.should("json_tensor.cc")
def word_for_number(subject: Subject) -> None:
    """A word where a number belongs is 400 and tells the element and the type expected."""
    if subject.first.datatype == "BYTES" or len(subject.inputs_specs) > 1:
        raise NotApplicable("the model takes strings or several inputs")
    reply = _predict(subject, {"instances": ["word"]})
    _refused(reply, 400, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT:")
    expect("is not of expected type:" in reply.error, reply.error)


@CASES.should("json_tensor.cc")
def ragged(subject: Subject) -> None:
    """Rows of different shapes are 400."""
    if len(subject.inputs_specs) > 1:
        raise NotApplicable("the model has several inputs")
    _refused(_predict(subject, {"instances": [[[1, 2]], [[1]]]}), 400, "Expecting")


@CASES.should("json_tensor.cc, FillPredictRequestFromJson")
def missing_column(subject: Subject) -> None:
    """A column request that lacks an input is 400 and names it."""
    if len(subject.inputs_specs) < 2:
        raise NotApplicable("the model has one input")
    sample = subject.sample()
    del sample[subject.first.name]
    _refused(_predict(subject, {"inputs": sample}), 400, f"Missing named input: {subject.first.name}")


MALFORMED = (
    ("GET", "/v1/foo"),
    ("POST", "/v1/foo"),
    ("GET", "/v1/models/{m}:predict"),
    ("POST", "/v1/models"),
    ("POST", "/v1/models/{m}/metadata"),
    ("GET", "/v1/models/{m}/version/50"),
    ("GET", "/v1/models/{m}/versions/HELLO"),
    ("GET", "/v1/models/{m}/versions/50/labels/x"),
    ("PUT", "/v1/models/{m}"),
    ("DELETE", "/v1/models/{m}"),
)


@CASES.should("http_rest_api_handler.cc")
def malformed(subject: Subject) -> None:
    """A path or method that the API has not is 400 Malformed request: METHOD path."""
    for method, template in MALFORMED:
        path = template.format(m=subject.artifact)
        reply = ask(subject.rest, method, path, b"{}" if method != "GET" else None)
        _refused(reply, 400, f"Malformed request: {method} {path}")


@CASES.should("http_rest_api_handler.cc")
def no_model_name(subject: Subject) -> None:
    """GET /v1/models is 400 Missing model name in request."""
    _refused(subject.get("/v1/models"), 400, "Missing model name in request.")


@CASES.should("http_server.cc")
def gzip_body(subject: Subject) -> None:
    """A body in gzip, declared, is inflated."""
    import gzip

    body = gzip.compress(to_json({"instances": _rows(subject)}))
    reply = subject.post(_path(subject, ":predict"), body, {"Content-Encoding": "gzip"})
    expect(bool(_row_outputs(subject, reply)), reply)


@CASES.should("http_rest_api_util.cc: the content type is not looked at")
def content_type_is_ignored(subject: Subject) -> None:
    """JSON sent as text/plain is answered."""
    reply = subject.post(_path(subject, ":predict"), {"instances": _rows(subject)}, {"Content-Type": "text/plain"})
    expect(bool(_row_outputs(subject, reply)), reply)


@CASES.should("RapidJSON kParseStopWhenDoneFlag")
def trailing_bytes(subject: Subject) -> None:
    """Bytes after the JSON are ignored."""
    reply = _predict(subject, to_json({"instances": _rows(subject)}) + b" trailing")
    expect(bool(_row_outputs(subject, reply)), reply)


@CASES.report("prometheus_config")
def metrics(subject: Subject) -> str:
    """The metrics under the default path."""
    reply = subject.get("/monitoring/prometheus/metrics")
    return f"{reply.status}, {reply.body.count(b'# TYPE')} metrics"


@CASES.report("evhttp_server.cc")
def other_path(subject: Subject) -> str:
    """A path outside /v1."""
    return brief(subject.get("/"), 60)
