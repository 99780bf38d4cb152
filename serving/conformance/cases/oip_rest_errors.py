"""Open Inference Protocol v2, REST: what is wrong with a request is told, with a status and in words."""

from __future__ import annotations

from typing import Any

from contract import DATATYPES
from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Reply
from serving.conformance.open_inference import bent, infer_document, infer_path, outputs_in
from serving.conformance.subject import Subject, to_json

CASES = Cases("oip-rest", "open-inference-protocol inference_rest.md")
TYPICALLY_400 = "Inference Response JSON Error Object: a failed request is typically 400"


def _refused(reply: Reply, status: int | None = None, naming: str = "") -> None:
    expect(400 <= reply.status < 500 and status in (None, reply.status), reply)
    expect(bool(reply.error), f"no text under the key error: {reply}")
    expect(naming in reply.error, f"the message doesn't name {naming!r}: {reply.error}")


def _failed(reply: Reply) -> None:
    """Any error status will do: the document says no more than `typically 400`."""
    expect(reply.status >= 400 and bool(reply.error), reply)


def _infer(subject: Subject, document: Any) -> Reply:
    return subject.post(infer_path(subject), document)


@CASES.must("Inference Response JSON Error Object")
def error_is_a_json_object(subject: Subject) -> None:
    """A failed inference has an HTTP error status and a JSON object whose error is a string."""
    _failed(_infer(subject, bent(subject, shape=[3, 3, 3])))


@CASES.must("Inference Response JSON Error Object")
def no_json(subject: Subject) -> None:
    """A body that is no JSON is refused with a key error."""
    _failed(_infer(subject, b"{this is no JSON"))


@CASES.must("Inference Response JSON Error Object")
def empty_body(subject: Subject) -> None:
    """An empty body is refused with a key error."""
    _failed(_infer(subject, b""))


@CASES.must("Inference Request JSON Object, inputs")
def no_inputs(subject: Subject) -> None:
    """A request without inputs is refused with a key error."""
    _failed(_infer(subject, {"id": "1"}))


@CASES.must("Inference Response JSON Error Object")
def refusal_leaves_the_server_well(subject: Subject) -> None:
    """After refusals the next request is answered."""
    for body in (b"[]", b"null", b'{"inputs": {}}', b'{"inputs": [1]}', b"\xff\xfe", b"[" * 10_000):
        _infer(subject, body)
    expect(bool(outputs_in(_infer(subject, infer_document(subject)))), "no outputs")


@CASES.should(TYPICALLY_400)
def unknown_model(subject: Subject) -> None:
    """Inference with an unknown model is 404 with a key error."""
    _refused(subject.post(infer_path(subject, "no-such-model"), infer_document(subject)), 404)


@CASES.should(TYPICALLY_400)
def shape_and_data(subject: Subject) -> None:
    """Data that doesn't fill its shape is 400 and the message names the input."""
    too_few = subject.sample()[subject.first.name].ravel()[:-1]
    _refused(_infer(subject, bent(subject, data=too_few)), 400, subject.first.name)


@CASES.should(TYPICALLY_400)
def too_much_data(subject: Subject) -> None:
    """More data than the shape holds is 400 and the message names the input."""
    values = subject.sample()[subject.first.name].ravel().tolist()
    _refused(_infer(subject, bent(subject, data=[*values, values[0]])), 400, subject.first.name)


@CASES.should(TYPICALLY_400)
def wrong_shape(subject: Subject) -> None:
    """A shape that the model has not is 400 and the message names the input."""
    values = subject.sample()[subject.first.name].ravel()
    _refused(_infer(subject, bent(subject, shape=[1, 1, 1, 1, 1, values.size])), 400, subject.first.name)


@CASES.should(TYPICALLY_400)
def negative_size(subject: Subject) -> None:
    """A negative size in a shape is 400."""
    sizes = list(subject.sample()[subject.first.name].shape)
    _refused(_infer(subject, bent(subject, shape=[-1, *sizes[1:]])), 400)


@CASES.should(TYPICALLY_400)
def other_datatype(subject: Subject) -> None:
    """A datatype other than the model's is 400 and the message names the input."""
    other = "INT64" if subject.first.datatype != "INT64" else "FP32"
    _refused(_infer(subject, bent(subject, datatype=other)), 400, subject.first.name)


@CASES.should(TYPICALLY_400)
def unknown_datatype(subject: Subject) -> None:
    """A datatype that the protocol has not is 400."""
    assert "FLOAT99" not in DATATYPES
    _refused(_infer(subject, bent(subject, datatype="FLOAT99")), 400)


@CASES.should(TYPICALLY_400)
def unknown_input(subject: Subject) -> None:
    """An input that the model has not is 400 and the message names it."""
    _refused(_infer(subject, bent(subject, name="no_such_input")), 400, "no_such_input")


@CASES.should(TYPICALLY_400)
def missing_input(subject: Subject) -> None:
    """An empty list of inputs is 400."""
    _refused(_infer(subject, {"inputs": []}), 400)


@CASES.should(TYPICALLY_400)
def input_twice(subject: Subject) -> None:
    """An input given twice is 400."""
    document = infer_document(subject)
    _refused(_infer(subject, {"inputs": [*document["inputs"], document["inputs"][0]]}), 400)


@CASES.should(TYPICALLY_400)
def unknown_output(subject: Subject) -> None:
    """An output that the model has not is 400 and the message names it."""
    document = infer_document(subject, outputs=[{"name": "no_such_output"}])
    _refused(_infer(subject, document), 400, "no_such_output")


@CASES.should(TYPICALLY_400)
def lacking_key(subject: Subject) -> None:
    """An input without its name, shape, datatype or data is refused in each case."""
    for key in ("name", "shape", "datatype", "data"):
        reply = _infer(subject, bent(subject, **{key: None}))
        expect(400 <= reply.status < 500, f"without {key}: {reply}")


@CASES.should(TYPICALLY_400)
def text_for_numbers(subject: Subject) -> None:
    """Words for numeric elements are 400 and the message names the input."""
    if subject.first.datatype == "BYTES":
        raise NotApplicable("the first input is BYTES")
    size = subject.sample()[subject.first.name].size
    _refused(_infer(subject, bent(subject, data=["word"] * size)), 400, subject.first.name)


@CASES.should(TYPICALLY_400)
def ragged_data(subject: Subject) -> None:
    """Nested data whose rows differ in length is 400."""
    values = subject.sample()[subject.first.name].ravel().tolist()
    _refused(_infer(subject, bent(subject, data=[values[:-1], values[-1:], []])), 400)


@CASES.should(TYPICALLY_400)
def wrong_types(subject: Subject) -> None:
    """Values of the wrong JSON type are refused with a key error, never 5xx."""
    mistakes: tuple[dict[str, Any], ...] = (
        {"name": 7},
        {"shape": "1"},
        {"shape": [1.5]},
        {"datatype": 3},
        {"data": "x"},
        {"data": {}},
    )
    for changes in mistakes:
        reply = _infer(subject, bent(subject, **changes))
        expect(400 <= reply.status < 500 and bool(reply.error), f"{changes}: {reply}")


@CASES.should("RFC 9110, 15.5: a mistake of the client is 4xx")
def no_json_is_the_clients_mistake(subject: Subject) -> None:
    """A body that is no JSON, or no request, is an error of the client."""
    for body in (b"{this is no JSON", b"", b'{"id": "1"}', b"[]"):
        reply = _infer(subject, body)
        expect(400 <= reply.status < 500, f"{body!r}: {reply}")


@CASES.should("RFC 8259, 9; bounded depth")
def deep_nesting(subject: Subject) -> None:
    """Lists nested 100,000 deep are refused."""
    reply = _infer(subject, b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    expect(400 <= reply.status < 500, reply)


@CASES.should("Inference, /versions/${MODEL_VERSION}")
def unknown_version(subject: Subject) -> None:
    """Inference with an unknown version is an error of the client with a key error."""
    _refused(subject.post(f"/v2/models/{subject.artifact}/versions/987654/infer", infer_document(subject)))


@CASES.report("not in the document")
def schema_status(subject: Subject) -> str:
    """The status of a body that is JSON but no request: Triton 400, MLServer and KServe SDK 422."""
    return brief(_infer(subject, {"inputs": 1}), 100)


@CASES.report("RFC 8259, 6: no NaN in JSON")
def not_a_number(subject: Subject) -> str:
    """NaN as an element."""
    if subject.first.datatype not in ("FP32", "FP64"):
        raise NotApplicable(f"the first input is {subject.first.datatype}")
    size = subject.sample()[subject.first.name].size
    return brief(_infer(subject, bent(subject, data=[float("nan")] * size)), 100)


@CASES.report("not in the document")
def trailing_bytes(subject: Subject) -> str:
    """Bytes after the JSON of a request."""
    return brief(_infer(subject, to_json(infer_document(subject)) + b" trailing"), 100)


@CASES.report("not in the document")
def unknown_keys(subject: Subject) -> str:
    """Keys that the protocol has not."""
    return f"{_infer(subject, infer_document(subject, x_unknown=1)).status}"
