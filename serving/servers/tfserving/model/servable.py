"""A version in service: its signatures, each with its way to run, and what never changes about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serving.servers.tfserving.metrics import Telemetry
from serving.servers.tfserving.model.batching_proof import proven_signatures
from serving.servers.tfserving.model.execution import BatchingParameters, Execution
from serving.servers.tfserving.model.session import Session, SessionSettings, load
from serving.servers.tfserving.model.signatures import DEFAULT, Signature
from serving.servers.tfserving.status import Status, invalid


class Servable:
    """One version of a model, loaded and warmed up."""

    def __init__(
        self,
        name: str,
        version: int,
        session: Session,
        batching: BatchingParameters | None,
        telemetry: Telemetry | None,
        joined: Mapping[str, int],
    ) -> None:
        """A loaded `session`; requests for a signature in `joined` may share runs of up to so many rows."""
        self.name = name
        self.version = version
        self.session = session
        self.executions = {
            key: Execution(session, signature, batching, telemetry, joined_rows=joined.get(key, 0))
            for key, signature in session.signatures.items()
        }
        self.metadata_json: bytes | None = None
        """The answer to a REST metadata request, once it was asked for."""

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""
        return any(execution.busy for execution in self.executions.values())

    def rest_signature(self, name: str) -> Signature:
        """A signature for a REST predict request; raises Status."""
        signature = self.session.signatures.get(name)
        if signature is None:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return signature

    def grpc_signature(self, name: str) -> Signature:
        """A signature for a gRPC predict request, whose refusal has a code of its own; raises Status."""
        signature = self.session.signatures.get(name or DEFAULT)
        if signature is None:
            raise Status("FAILED_PRECONDITION", f'Serving signature key "{name or DEFAULT}" not found.')
        return signature

    def example_signature(self, name: str) -> Signature:
        """A signature for classify or regress; raises Status."""
        signature = self.session.signatures.get(name or DEFAULT)
        if signature is None:
            raise invalid(f"No signature was found with the name: {name or DEFAULT}")
        return signature

    def close(self) -> None:
        """Free its memory; nothing may run any more."""
        for execution in self.executions.values():
            execution.close()
        self.session.close()


def load_servable(
    name: str,
    version: int,
    folder: Path,
    settings: SessionSettings,
    batching: BatchingParameters | None,
    telemetry: Telemetry | None = None,
    warm_up: Callable[[Servable, Path], Any] | None = None,
    log: Callable[[str], None] = print,
) -> Servable:
    """Load a version and run its recorded warm-up requests; raises Status with what is wrong.

    A warm-up request that fails is a line in the log: the model may well answer others.
    """
    session = load(folder, settings)
    joined = proven_signatures(folder, log)
    if joined is None:  # nobody has tried: what the user asks for, as in the genuine server
        joined = dict.fromkeys(session.signatures if batching is not None else (), sys.maxsize)
    servable = Servable(name, version, session, batching, telemetry, joined)
    if warm_up is not None:
        try:
            warm_up(servable, folder)
        except Status as error:
            log(f"{name} version {version}: warm-up failed, served all the same: {error}")
    return servable
