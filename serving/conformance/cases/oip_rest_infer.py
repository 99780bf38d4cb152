"""Open Inference Protocol v2, REST: inference with JSON tensors."""

from __future__ import annotations

import gzip

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.open_inference import bent, close, expect_same, infer_document, infer_path, outputs_in
from serving.conformance.subject import Subject, to_json

CASES = Cases("oip-rest", "open-inference-protocol inference_rest.md")


@CASES.must("Inference Response JSON Object, id")
def id_comes_back(subject: Subject) -> None:
    """The id of a request comes back in its answer."""
    reply = subject.post(infer_path(subject), infer_document(subject, id="case/42"))
    outputs_in(reply)
    expect(reply.document.get("id") == "case/42", f"id: {reply.document.get('id')!r}")


@CASES.must("Tensor Data: nested or flat, row-major")
def flat_is_nested(subject: Subject) -> None:
    """Flat and nested data get the same answer."""
    if not all(spec.shape for spec in subject.inputs_specs):
        raise NotApplicable("an input is a scalar, whose data can't be nested")
    flat, nested = (subject.post(infer_path(subject), infer_document(subject, flat=form)) for form in (True, False))
    expect_same(outputs_in(nested), outputs_in(flat))


@CASES.must("Inference Request JSON Object, outputs")
def all_outputs(subject: Subject) -> None:
    """A request that names no outputs gets all of them."""
    outputs = outputs_in(subject.post(infer_path(subject), infer_document(subject)))
    wanted = {spec.name for spec in subject.outputs_specs}
    expect(outputs.keys() == wanted, f"outputs {sorted(outputs)}, the metadata has {sorted(wanted)}")


@CASES.must("Inference Request JSON Object, outputs")
def wanted_outputs(subject: Subject) -> None:
    """A request that names one output gets that one alone."""
    name = subject.outputs_specs[-1].name
    reply = subject.post(infer_path(subject), infer_document(subject, outputs=[{"name": name}]))
    expect(list(outputs_in(reply)) == [name], reply)


@CASES.must("Inference Response JSON Object")
def model_name(subject: Subject) -> None:
    """The answer names the model."""
    reply = subject.post(infer_path(subject), infer_document(subject))
    outputs_in(reply)
    expect(reply.document.get("model_name") == subject.artifact, f"model_name: {reply.document.get('model_name')!r}")


@CASES.must("Inference Response JSON Object, response_output")
def outputs_fit_their_metadata(subject: Subject) -> None:
    """Every output has the datatype and the shape that the metadata says, its data filling the shape."""
    reply = subject.post(infer_path(subject), infer_document(subject))
    outputs = outputs_in(reply)
    described = {output["name"]: output for output in reply.document["outputs"]}
    for spec in subject.outputs_specs:
        expect(spec.name in outputs, f"no output {spec.name}")
        expect(described[spec.name]["datatype"] == spec.datatype, described[spec.name]["datatype"])
        got = outputs[spec.name].shape
        fits = len(got) == len(spec.shape) and all(w in (-1, n) for w, n in zip(spec.shape, got, strict=True))
        expect(fits, f"{spec.name} has shape {list(got)}, the metadata says {list(spec.shape)}")


@CASES.must("Tensor Data: the shape covers the whole batch")
def batch_of_two(subject: Subject) -> None:
    """A batch of two gets the answers that its rows get alone."""
    if not subject.has_free_batch:
        raise NotApplicable("the model has no free batch dimension")
    both = outputs_in(subject.post(infer_path(subject), infer_document(subject, 2)))
    first = outputs_in(subject.post(infer_path(subject), infer_document(subject, 1)))
    for name, array in first.items():
        expect(len(both[name]) == 2, f"{name} has shape {both[name].shape}")
        expect(close(both[name][:1], array), f"{name} of the first row differs in a batch")


@CASES.must("Inference: the model's own answer")
def right_answer(subject: Subject) -> None:
    """The answer is the one that the model repository expects."""
    if subject.expected is None:
        raise NotApplicable("no expected outputs: give --repository")
    outputs = outputs_in(subject.post(infer_path(subject), infer_document(subject, 2)))
    expect_same(outputs, subject.expected)


@CASES.must("Inference Response JSON Object, parameters")
def request_parameters(subject: Subject) -> None:
    """Parameters that the server doesn't know do no harm."""
    reply = subject.post(infer_path(subject), infer_document(subject, parameters={"x_case": 1, "x_text": "a"}))
    expect(bool(outputs_in(reply)), reply)


@CASES.must("Inference Response JSON Object, id")
def empty_id(subject: Subject) -> None:
    """A request without an id is answered."""
    reply = subject.post(infer_path(subject), infer_document(subject))
    expect(bool(outputs_in(reply)), reply)


@CASES.should("Inference, /versions/${MODEL_VERSION} (as Triton does)")
def infer_by_version(subject: Subject) -> None:
    """A version that the metadata lists answers under its own path and is named in the answer."""
    versions = (subject.get(f"/v2/models/{subject.artifact}").document or {}).get("versions")
    if not versions:
        raise NotApplicable("the metadata lists no versions")
    path = f"/v2/models/{subject.artifact}/versions/{versions[-1]}/infer"
    reply = subject.post(path, infer_document(subject))
    outputs_in(reply)
    expect(
        reply.document.get("model_version") == versions[-1], f"model_version: {reply.document.get('model_version')!r}"
    )


@CASES.should("Inference Response: JSON numbers")
def json_is_strict(subject: Subject) -> None:
    """The answer is JSON by RFC 8259, without NaN and Infinity, as application/json."""
    reply = subject.post(infer_path(subject), infer_document(subject))
    outputs_in(reply)
    expect(reply.headers.get("content-type", "").startswith("application/json"), reply.headers.get("content-type"))
    expect(not any(word in reply.body for word in (b"NaN", b"Infinity")), reply)


@CASES.should("Tensor Data: numbers")
def whole_numbers_for_floats(subject: Subject) -> None:
    """Whole numbers are taken for floating-point elements."""
    if subject.first.datatype not in ("FP32", "FP64"):
        raise NotApplicable(f"the first input is {subject.first.datatype}")
    zeros = [0] * subject.sample()[subject.first.name].size
    expect(bool(outputs_in(subject.post(infer_path(subject), bent(subject, data=zeros)))), "no outputs")


@CASES.report("Inference Response JSON Object, model_version")
def model_version(subject: Subject) -> str:
    """The model_version in an answer to a request without one."""
    reply = subject.post(infer_path(subject), infer_document(subject))
    return repr((reply.document or {}).get("model_version", "absent"))


@CASES.report("not in the document")
def empty_batch(subject: Subject) -> str:
    """A batch of none."""
    if not subject.has_free_batch or len(subject.inputs_specs) > 1:
        raise NotApplicable("the model has no free batch dimension or several inputs")
    return brief(subject.post(infer_path(subject), bent(subject, shape=[0, *_inner(subject)], data=[])))


@CASES.report("not in the document")
def no_outputs_wanted(subject: Subject) -> str:
    """An empty list of wanted outputs."""
    reply = subject.post(infer_path(subject), infer_document(subject, outputs=[]))
    return f"{reply.status}, {len((reply.document or {}).get('outputs', []))} outputs"


@CASES.report("not in the document")
def other_content_type(subject: Subject) -> str:
    """JSON sent as text/plain."""
    reply = subject.post(infer_path(subject), infer_document(subject), {"Content-Type": "text/plain"})
    return f"{reply.status}"


@CASES.report("RFC 9110, 8.4")
def compressed(subject: Subject) -> str:
    """A body in gzip, declared."""
    body = gzip.compress(to_json(infer_document(subject)))
    return brief(subject.post(infer_path(subject), body, {"Content-Encoding": "gzip"}), 80)


@CASES.report("Tensor Data: coercion is the server's choice")
def numbers_as_strings(subject: Subject) -> str:
    """Numbers sent as strings."""
    texts = [str(value) for value in subject.sample()[subject.first.name].ravel().tolist()]
    return brief(subject.post(infer_path(subject), bent(subject, data=texts)), 100)


def _inner(subject: Subject) -> list[int]:
    return list(subject.sample()[subject.first.name].shape[1:])
