"""The model repository extension of the Open Inference Protocol v2: only what changes nothing in the server."""

from __future__ import annotations

from typing import Any

from serving.conformance.case import Cases, NotApplicable, expect
from serving.conformance.subject import Subject

CASES = Cases("oip-rest", "Triton extension_model_repository.md")


def _offered(subject: Subject) -> None:
    metadata = subject.get("/v2").document
    offered = metadata.get("extensions") if isinstance(metadata, dict) else None
    if "model_repository" not in (offered or []):
        raise NotApplicable("the server doesn't name the extension model_repository")


def _index(subject: Subject, **wanted: Any) -> list[dict[str, Any]]:
    _offered(subject)
    reply = subject.post("/v2/repository/index", wanted)
    expect(reply.status == 200 and isinstance(reply.document, list), reply)
    entries: list[dict[str, Any]] = reply.document
    return entries


@CASES.must("Repository Index Response JSON Object")
def index(subject: Subject) -> None:
    """POST /v2/repository/index lists the model, and every entry has a name."""
    entries = _index(subject)
    expect(all(isinstance(entry.get("name"), str) for entry in entries), entries)
    expect(subject.artifact in {entry["name"] for entry in entries}, [entry["name"] for entry in entries])


@CASES.must("Repository Index Request JSON Object, ready")
def ready_index(subject: Subject) -> None:
    """With ready only models that answer are listed, the loaded one among them as READY."""
    entries = _index(subject, ready=True)
    expect(subject.artifact in {entry["name"] for entry in entries}, [entry["name"] for entry in entries])
    expect(all(entry.get("state", "READY") == "READY" for entry in entries), [entry.get("state") for entry in entries])


@CASES.must("Repository Load Response JSON Error Object")
def load_unknown(subject: Subject) -> None:
    """Loading an unknown model is an error with a key error."""
    _offered(subject)
    reply = subject.post("/v2/repository/models/no-such-model/load", {})
    expect(reply.status >= 400 and bool(reply.error), reply)


@CASES.should("the model's name is no path")
def path_as_name(subject: Subject) -> None:
    """A name that climbs out of the repository is refused with no word on what is there."""
    _offered(subject)
    reply = subject.post("/v2/repository/models/..%2F..%2Fetc/load", {})
    expect(reply.status >= 400, reply)
    expect("passwd" not in str(reply) and "Traceback" not in str(reply), reply)
