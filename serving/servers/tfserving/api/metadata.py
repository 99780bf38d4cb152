"""Model status and metadata: the messages, and their JSON as REST shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.model.versions import VersionState
from serving.servers.tfserving.status import Status, invalid

SIGNATURE_DEF = "signature_def"


def status_message(versions: Sequence[VersionState]) -> Any:
    """A `GetModelStatusResponse`."""
    from tensorflow_serving.apis import get_model_status_pb2

    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        row = response.model_version_status.add(version=version.number)
        row.state = get_model_status_pb2.ModelVersionStatus.State.Value(version.state)
        row.status.SetInParent()
        if version.error is not None:
            row.status.error_code = version.error.number
            row.status.error_message = version.error.grpc_message
    return response


def status_json(versions: Sequence[VersionState]) -> bytes:
    """The REST answer: one blank a level, newest version first."""
    return _json(status_message(versions)).encode() + b"\n"


def metadata_message(servable: Servable, fields: Sequence[str]) -> Any:
    """A `GetModelMetadataResponse`; raises Status for fields other than `signature_def`."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata[SIGNATURE_DEF].Pack(_signatures(servable))
    return response


def metadata_json(servable: Servable) -> bytes:
    """The REST answer, glued from two printed messages as the genuine server does."""
    if servable.metadata_json is None:
        from tensorflow_serving.apis import model_pb2

        spec = model_pb2.ModelSpec(name=servable.name)
        spec.version.value = servable.version
        signatures = _json(_signatures(servable))
        text = f'{{\n"model_spec":{_json(spec)}\n,\n"metadata": {{"signature_def": {signatures}\n}}\n}}\n'
        servable.metadata_json = text.encode()
    return servable.metadata_json


def spec_of(response: Any, servable: Servable, signature: str) -> None:
    """Fill the `model_spec` of an answer."""
    response.name = servable.name
    response.version.value = servable.version
    response.signature_name = signature


def missing_spec() -> Status:
    """A gRPC request without a model_spec."""
    return invalid("Missing ModelSpec")


def _signatures(servable: Servable) -> Any:
    from tensorflow_serving.apis import get_model_metadata_pb2

    message = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.session.signatures.items():
        message.signature_def[name].CopyFrom(signature.proto)
        message.signature_def[name].ClearField("defaults")
    return message


def _json(message: Any) -> str:
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1
    )
    return text
