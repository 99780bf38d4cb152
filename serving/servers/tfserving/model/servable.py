"""A version in service: its signatures, each with its way to run, and what never changes about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.servers.tfserving.metrics import Telemetry
from serving.servers.tfserving.model.execution import BatchingParameters, Execution
from serving.servers.tfserving.model.session import Model, SessionSettings, load
from serving.servers.tfserving.model.signatures import DEFAULT, Signature
from serving.servers.tfserving.status import Status, invalid


class Servable:
    """One version of a model, loaded and warmed up."""

    def __init__(
        self, name: str, version: int, model: Model, batching: BatchingParameters | None, telemetry: Telemetry | None
    ) -> None:
        self.name = name
        self.version = version
        self.model = model
        self.executions = {
            key: Execution(model, signature, batching, telemetry) for key, signature in model.signatures.items()
        }
        self.metadata_json: bytes | None = None
        """The answer to a REST metadata request, once it was asked for."""

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""
        return any(execution.busy for execution in self.executions.values())

    def rest_signature(self, name: str) -> Signature:
        """A signature for a REST predict request; raises Status."""
        signature = self.model.signatures.get(name)
        if signature is None:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return signature

    def grpc_signature(self, name: str) -> Signature:
        """A signature for a gRPC predict request, whose refusal has a code of its own; raises Status."""
        signature = self.model.signatures.get(name or DEFAULT)
        if signature is None:
            raise Status("FAILED_PRECONDITION", f'Serving signature key "{name or DEFAULT}" not found.')
        return signature

    def example_signature(self, name: str) -> Signature:
        """A signature for classify or regress; raises Status."""
        signature = self.model.signatures.get(name or DEFAULT)
        if signature is None:
            raise invalid(f"No signature was found with the name: {name or DEFAULT}")
        return signature

    def close(self) -> None:
        """Free its memory; nothing may run any more."""
        for execution in self.executions.values():
            execution.close()
        self.model.close()


def load_servable(
    name: str,
    version: int,
    folder: Path,
    settings: SessionSettings,
    batching: BatchingParameters | None,
    telemetry: Telemetry | None = None,
    warm_up: Callable[[Servable, Path], Any] | None = None,
) -> Servable:
    """Load a version and run it before anybody may ask for it; raises Status with what is wrong."""
    servable = Servable(name, version, load(folder, settings), batching, telemetry)
    if warm_up is not None:
        try:
            warm_up(servable, folder)
        except Status:
            servable.close()
            raise
    return servable
