"""The binary tensor data extension of the Open Inference Protocol v2: tensors as bytes after the JSON."""

from __future__ import annotations

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Reply
from serving.conformance.open_inference import (
    LENGTH,
    binary_outputs_in,
    binary_request,
    expect_same,
    framed,
    infer_document,
    infer_path,
    outputs_in,
    raw_bytes,
)
from serving.conformance.subject import Subject

CASES = Cases("oip-rest", "Triton extension_binary_data.md")


def _offered(subject: Subject) -> None:
    metadata = subject.get("/v2").document
    offered = metadata.get("extensions") if isinstance(metadata, dict) else None
    if "binary_tensor_data" not in (offered or []):
        raise NotApplicable("the server doesn't name the extension binary_tensor_data")


def _plain(subject: Subject, count: int = 1) -> Reply:
    return subject.post(infer_path(subject), infer_document(subject, count))


def _binary(subject: Subject, count: int = 1, **more: object) -> Reply:
    _offered(subject)
    body, headers = binary_request(subject, count, **more)
    return subject.post(infer_path(subject), body, headers)


@CASES.must("Binary Tensor Request")
def binary_input(subject: Subject) -> None:
    """Binary inputs get the same answer as JSON inputs, in JSON where nothing else is asked for."""
    expect_same(outputs_in(_binary(subject)), outputs_in(_plain(subject)))


@CASES.must("Binary Tensor Request, binary_data_output")
def binary_output(subject: Subject) -> None:
    """With binary_data_output every output is bytes after the JSON, with its size and without data."""
    reply = _binary(subject, parameters={"binary_data_output": True})
    expect_same(binary_outputs_in(reply), outputs_in(_plain(subject)))


@CASES.must("Binary Tensor Request, binary_data")
def binary_data_of_one_output(subject: Subject) -> None:
    """binary_data of a requested output makes that output binary."""
    wanted = [{"name": spec.name, "parameters": {"binary_data": True}} for spec in subject.outputs_specs]
    expect_same(binary_outputs_in(_binary(subject, outputs=wanted)), outputs_in(_plain(subject)))


@CASES.must("Binary Tensor Request, binary_data")
def output_overrides_request(subject: Subject) -> None:
    """binary_data: false of an output overrides binary_data_output of the request."""
    wanted = [{"name": spec.name, "parameters": {"binary_data": False}} for spec in subject.outputs_specs]
    reply = _binary(subject, outputs=wanted, parameters={"binary_data_output": True})
    expect_same(outputs_in(reply), outputs_in(_plain(subject)))


@CASES.must("Binary Tensor Request")
def json_in_binary_out(subject: Subject) -> None:
    """A request in JSON alone can ask for binary outputs."""
    _offered(subject)
    reply = subject.post(infer_path(subject), infer_document(subject, parameters={"binary_data_output": True}))
    expect_same(binary_outputs_in(reply), outputs_in(_plain(subject)))


@CASES.must("Binary Tensor Request")
def binary_batch(subject: Subject) -> None:
    """A batch of two goes as bytes too."""
    reply = _binary(subject, 2, parameters={"binary_data_output": True})
    expect_same(binary_outputs_in(reply), outputs_in(_plain(subject, 2)))


@CASES.must("Inference Response JSON Object, id")
def id_comes_back(subject: Subject) -> None:
    """The id comes back beside binary outputs."""
    reply = _binary(subject, id="b-1", parameters={"binary_data_output": True})
    binary_outputs_in(reply)
    expect(b'"b-1"' in reply.body[: int(reply.headers[LENGTH.lower()])], brief(reply.body[:200]))


@CASES.should("Binary Tensor Response, Content-Type")
def content_type(subject: Subject) -> None:
    """An answer with binary tensors is application/octet-stream."""
    reply = _binary(subject, parameters={"binary_data_output": True})
    expect(reply.headers.get("content-type") == "application/octet-stream", reply.headers.get("content-type"))


@CASES.should("Raw Binary Request")
def raw_request(subject: Subject) -> None:
    """With the header at 0 the body is the only input, one row, and all outputs come as bytes."""
    _offered(subject)
    free = [size for size in subject.first.shape[1:] if size == -1]
    if len(subject.inputs_specs) > 1 or free or subject.first.datatype == "BYTES":
        raise NotApplicable("the model has several inputs, free dimensions or BYTES")
    body = raw_bytes(subject.sample()[subject.first.name], subject.first.datatype)
    reply = subject.post(infer_path(subject), body, {"Content-Type": "application/octet-stream", LENGTH: "0"})
    expect_same(binary_outputs_in(reply), outputs_in(_plain(subject)))


def _refused(subject: Subject, body: bytes, headers: dict[str, str]) -> None:
    _offered(subject)
    reply = subject.post(infer_path(subject), body, headers)
    expect(reply.status == 400 and bool(reply.error), reply)


@CASES.should("Triton GetInferenceHeaderLength")
def header_is_no_number(subject: Subject) -> None:
    """A length of the JSON that is no number is 400."""
    body, headers = binary_request(subject)
    _refused(subject, body, {**headers, LENGTH: "many"})


@CASES.should("Triton GetInferenceHeaderLength")
def header_is_negative(subject: Subject) -> None:
    """A negative length of the JSON is 400."""
    body, headers = binary_request(subject)
    _refused(subject, body, {**headers, LENGTH: "-1"})


@CASES.should("Triton GetInferenceHeaderLength")
def header_beyond_the_body(subject: Subject) -> None:
    """A length of the JSON beyond the body is 400."""
    body, headers = binary_request(subject)
    _refused(subject, body, {**headers, LENGTH: str(len(body) + 1)})


@CASES.should("Triton: unexpected size for input")
def bytes_are_missing(subject: Subject) -> None:
    """Fewer bytes than binary_data_size is 400."""
    body, headers = binary_request(subject)
    _refused(subject, body[:-1], headers)


@CASES.should("Triton: unexpected additional input data")
def bytes_are_left(subject: Subject) -> None:
    """Bytes after the last tensor are 400."""
    body, headers = binary_request(subject)
    _refused(subject, body + b"\0", headers)


@CASES.should("Triton: unexpected size for input")
def size_and_shape_disagree(subject: Subject) -> None:
    """A binary_data_size that its shape and datatype don't have is 400."""
    document = infer_document(subject)
    raw = raw_bytes(subject.sample()[subject.first.name], subject.first.datatype)
    for described in document["inputs"]:
        del described["data"]
        described["parameters"] = {"binary_data_size": len(raw) - 1}
    _refused(subject, *framed(document, raw[:-1] * len(document["inputs"])))


@CASES.should("Binary Tensor Request: no data where there are bytes")
def data_and_bytes(subject: Subject) -> None:
    """An input with both data and binary_data_size is 400."""
    document = infer_document(subject)
    raw = raw_bytes(subject.sample()[subject.first.name], subject.first.datatype)
    document["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    _refused(subject, *framed(document, raw))
