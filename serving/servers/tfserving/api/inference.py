"""What REST and gRPC share: from checked tensors to a queued run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract import Tensors
from serving.hosting.batcher import Outputs
from serving.servers.tfserving.metrics import Telemetry
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.model.signatures import Signature
from serving.servers.tfserving.model.tensor_protos import from_proto
from serving.servers.tfserving.status import invalid

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
Then = Callable[[Outputs], Any]


@dataclass(frozen=True)
class Caller:
    """Where a request came from, for the counts, and when it expires."""

    entrypoint: str
    """`REST` or `GRPC`."""
    api: str
    began_s: float
    deadline_s: float | None
    counted: bool = True
    """Whether the genuine server counts such a request."""


class Inference:
    """Queues requests and counts them."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry

    def predict(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Tensors,
        caller: Caller,
        then: Then,
        outputs: Sequence[str] = (),
    ) -> asyncio.Future[Any]:
        """Queue a run; the future gives what `then` makes of the outputs, or raises Status."""
        inputs = complete_inputs(signature, inputs)
        name, api = servable.name, caller.api

        def finish(results: Outputs) -> Any:
            def count(_: Any = None) -> None:
                self.telemetry.observe("runtime_latency", results.queue_us + results.compute_us, name, "Predict", "TF1")
                self.succeeded(name, api, caller)

            answer = then(results)
            if isinstance(answer, asyncio.Future):  # a long one is still being written
                answer.add_done_callback(count)
            else:
                count()
            return answer

        execution = servable.executions[signature.name]
        return execution.submit(inputs, outputs=outputs, deadline_s=caller.deadline_s, then=finish)

    def examples(
        self,
        servable: Servable,
        signature: Signature,
        rows: np.ndarray,
        caller: Caller,
        wanted: Sequence[str],
        then: Callable[[Outputs, int], Any],
    ) -> asyncio.Future[Any]:
        """Queue a classification or regression of serialized examples."""
        name = servable.name

        def finish(results: Outputs) -> Any:
            answer = then(results, len(rows))
            if caller.counted:
                api = caller.api.capitalize()
                self.telemetry.observe("runtime_latency", results.queue_us + results.compute_us, name, api, "TF1")
                self.count_examples(name, len(rows))
                self.succeeded(name, caller.api, caller)
            return answer

        outputs = () if len(wanted) == len(signature.outputs) else wanted
        execution = servable.executions[signature.name]
        return execution.submit({"inputs": rows}, outputs=outputs, deadline_s=caller.deadline_s, then=finish)

    def count_examples(self, model: str, count: int) -> None:
        """Count the examples of a request."""
        self.telemetry.observe("request_example_counts", count, model)
        self.telemetry.count("request_example_count_total", model, by=count)

    def succeeded(self, model: str, api: str, caller: Caller) -> None:
        """Count an answer that was given."""
        self.telemetry.count("request_count", model, "OK")
        elapsed_us = (time.perf_counter() - caller.began_s) * 1e6
        self.telemetry.observe("request_latency", elapsed_us, model, api, caller.entrypoint)


def complete_inputs(signature: Signature, inputs: Tensors) -> Tensors:
    """The inputs with the signature's defaults for those left out; raises Status where the names don't fit."""
    wanted, defaults = signature.inputs, signature.proto.defaults
    if len(inputs) > len(wanted) or (len(inputs) < len(wanted) and not defaults):
        extra, missing = sorted(set(inputs) - set(wanted)), sorted(set(wanted) - set(inputs))
        lengths = f"{len(inputs)}!={len(wanted)} len({_names(inputs)}) != len({_names(wanted)})"
        problem = f"Sent extra: {_names(extra)}. Missing but required: {_names(missing)}."
        raise invalid(f"input size does not match signature: {lengths}. {problem}")
    if inputs.keys() == wanted.keys():
        return inputs
    complete: dict[str, np.ndarray] = {}
    for alias, port in wanted.items():
        if alias in inputs:
            complete[alias] = inputs[alias]
        elif alias in defaults:
            complete[alias] = from_proto(defaults[alias], alias)
        else:
            what = f"Signature input alias: {alias}(feed name: {port.tensor}) not found in request"
            expected = f"Inputs expected to be in the request {_names(inputs)}, or default input alias set: "
            raise invalid(f"{what} and no default value provided. {expected}{','.join(sorted(defaults))}")
    return complete


def check_filter(signature: Signature, wanted: Sequence[str]) -> None:
    """Raise Status for outputs that aren't there, or are wanted twice."""
    seen = set()
    for alias in wanted:
        if alias not in signature.outputs:
            expected = f"Outputs expected to be in the set {_names(signature.outputs)}."
            raise invalid(f"output tensor alias not found in signature: {alias} {expected}")
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)


def _names(aliases: Any) -> str:
    return f"{{{','.join(sorted(aliases))}}}"
