"""Open Inference Protocol v2, REST: health, server and model metadata, versions."""

from __future__ import annotations

from typing import Any

from contract import DATATYPES
from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import ask
from serving.conformance.subject import Subject

CASES = Cases("oip-rest", "open-inference-protocol inference_rest.md")
TRITON = "(as Triton does)"


def _metadata(subject: Subject) -> dict[str, Any]:
    reply = subject.get(f"/v2/models/{subject.artifact}")
    expect(reply.status == 200 and isinstance(reply.document, dict), reply)
    metadata: dict[str, Any] = reply.document
    return metadata


def _version(subject: Subject) -> str:
    versions = _metadata(subject).get("versions") or []
    if not versions:
        raise NotApplicable("the metadata lists no versions")
    return str(versions[-1])


@CASES.must("Health")
def live(subject: Subject) -> None:
    """GET /v2/health/live answers 200."""
    reply = subject.get("/v2/health/live")
    expect(reply.status == 200, reply)


@CASES.must("Health")
def ready(subject: Subject) -> None:
    """GET /v2/health/ready answers 200."""
    reply = subject.get("/v2/health/ready")
    expect(reply.status == 200, reply)


@CASES.must("Health")
def model_ready(subject: Subject) -> None:
    """GET /v2/models/{model}/ready answers 200 for a loaded model."""
    reply = subject.get(f"/v2/models/{subject.artifact}/ready")
    expect(reply.status == 200, reply)


@CASES.must("Server Metadata Response JSON Object")
def server_metadata(subject: Subject) -> None:
    """GET /v2 has name, version and a list of extensions."""
    reply = subject.get("/v2")
    metadata = reply.document
    expect(reply.status == 200 and isinstance(metadata, dict), reply)
    missing = [key for key in ("name", "version", "extensions") if key not in metadata]
    expect(not missing, f"no {', '.join(missing)} in {brief(metadata)}")
    expect(isinstance(metadata["extensions"], list), f"extensions: {metadata['extensions']!r}")


@CASES.must("Model Metadata Response JSON Object")
def model_metadata(subject: Subject) -> None:
    """GET /v2/models/{model} has name, platform, inputs and outputs."""
    metadata = _metadata(subject)
    missing = [key for key in ("name", "platform", "inputs", "outputs") if key not in metadata]
    expect(not missing, f"no {', '.join(missing)} in {brief(metadata)}")
    expect(metadata["name"] == subject.artifact, f"name: {metadata['name']!r}")


@CASES.must("Model Metadata Response JSON Object, metadata_tensor")
def tensor_metadata(subject: Subject) -> None:
    """Every tensor of the metadata has a name, a datatype of the protocol and a shape with -1 where free."""
    metadata = _metadata(subject)
    for tensor in [*metadata.get("inputs", [None]), *metadata.get("outputs", [None])]:
        expect(isinstance(tensor, dict) and isinstance(tensor.get("name"), str), tensor)
        expect(tensor.get("datatype") in {*DATATYPES, "BF16"}, tensor)
        sizes = tensor.get("shape")
        expect(isinstance(sizes, list) and all(isinstance(n, int) and n >= -1 for n in sizes), tensor)


@CASES.must("Model Metadata Response JSON Object, versions")
def versions_are_strings(subject: Subject) -> None:
    """The versions in the metadata, where there are any, are strings."""
    versions = _metadata(subject).get("versions")
    if versions is None:
        raise NotApplicable("the metadata has no versions")
    expect(isinstance(versions, list) and all(isinstance(v, str) for v in versions), f"versions: {versions!r}")


@CASES.should("Model Metadata, /versions/${MODEL_VERSION}")
def metadata_by_version(subject: Subject) -> None:
    """A version that the metadata lists has metadata and is ready under its own path."""
    path = f"/v2/models/{subject.artifact}/versions/{_version(subject)}"
    for target in (path, f"{path}/ready"):
        reply = subject.get(target)
        expect(reply.status == 200, f"{target}: {reply}")


@CASES.should(f"Model Metadata {TRITON}")
def unknown_model(subject: Subject) -> None:
    """The metadata of an unknown model is 404 with a key error."""
    reply = subject.get("/v2/models/no-such-model")
    expect(reply.status == 404 and bool(reply.error), reply)


@CASES.should(f"Model Metadata {TRITON}")
def unknown_version(subject: Subject) -> None:
    """The metadata of an unknown version is an error of the client with a key error."""
    _version(subject)
    reply = subject.get(f"/v2/models/{subject.artifact}/versions/987654")
    expect(400 <= reply.status < 500 and bool(reply.error), reply)


@CASES.should(f"Health {TRITON}")
def unknown_model_is_not_ready(subject: Subject) -> None:
    """An unknown model isn't ready."""
    reply = subject.get("/v2/models/no-such-model/ready")
    expect(400 <= reply.status < 500, reply)


@CASES.should("HTTP/REST, Content-Type of JSON")
def content_type(subject: Subject) -> None:
    """Metadata is application/json."""
    reply = subject.get(f"/v2/models/{subject.artifact}")
    expect(reply.headers.get("content-type", "").startswith("application/json"), reply.headers.get("content-type"))


@CASES.should("RFC 9110, 15.5.6")
def wrong_method(subject: Subject) -> None:
    """A method that a path does not have is 405 (or 404), never 5xx."""
    reply = ask(subject.rest, "DELETE", f"/v2/models/{subject.artifact}/infer")
    expect(reply.status in (404, 405), reply)


@CASES.report("Health: the document names the key live in both")
def health_bodies(subject: Subject) -> str:
    """The bodies of live, ready and model ready."""
    paths = ("/v2/health/live", "/v2/health/ready", f"/v2/models/{subject.artifact}/ready")
    return ", ".join(f"{subject.get(path).body.decode(errors='replace').strip() or 'empty'}" for path in paths)


@CASES.report("Server Metadata Response JSON Object, extensions")
def extensions(subject: Subject) -> str:
    """The extensions that the server names."""
    metadata = subject.get("/v2").document
    return brief(metadata.get("extensions", "none") if isinstance(metadata, dict) else "none")


@CASES.report("not in the document")
def unknown_path(subject: Subject) -> str:
    """An unknown path under /v2."""
    return brief(subject.get("/v2/no/such/path"))
