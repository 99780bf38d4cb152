"""Runs a version before anybody may ask for it, with the requests recorded beside it and nothing else.

Reads `assets.extra/tf_serving_warmup_requests`, a TFRecord file of `PredictionLog`s, at most 1,000 of them.
https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.servers.tfserving.api import examples
from serving.servers.tfserving.api.inference import CLASSIFY, complete_inputs
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.model.signatures import DEFAULT
from serving.servers.tfserving.model.tensor_protos import from_proto
from serving.servers.tfserving.status import Status, invalid

FILE = Path("assets.extra/tf_serving_warmup_requests")
MAX_RECORDS = 1000


def warm_up(servable: Servable, folder: Path, iterations: int) -> None:
    """Run every recorded request `iterations` times; raises Status at the first that fails."""
    path = folder / FILE
    if not path.is_file():
        return
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in read_records(path)]
    except DecodeError as error:
        raise invalid(f"Failed to read warmup record from file: {path}: {error}") from None
    for _ in range(max(1, iterations)):
        for log in logs:
            _run(servable, log)


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length, checksum of it, data, checksum of it; checksums are not verified."""
    with path.open("rb") as file:
        for _ in range(MAX_RECORDS):
            header = file.read(12)
            if not header:
                return
            if len(header) < 12:
                raise invalid(f"truncated record in {path}")
            (length,) = struct.unpack("<Q", header[:8])
            record = file.read(length + 4)
            if len(record) < length + 4:
                raise invalid(f"truncated record in {path}")
            yield record[:length]
    raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")


def _run(servable: Servable, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        signature = servable.grpc_signature(request.model_spec.signature_name)
        inputs = {alias: from_proto(proto, alias) for alias, proto in request.inputs.items()}
        servable.session.run(signature, complete_inputs(signature, inputs), list(request.output_filter))
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        _run_examples(servable, request.model_spec.signature_name, request.input, classify=kind == "classify_log")
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            name, classify = task.model_spec.signature_name, task.method_name == CLASSIFY
            _run_examples(servable, name, request.input, classify=classify)
    else:
        raise Status("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")


def _run_examples(servable: Servable, name: str, message: Any, *, classify: bool) -> None:
    signature = servable.example_signature(name or DEFAULT)
    wanted = examples.classify_outputs(signature) if classify else examples.regress_outputs(signature)
    servable.session.run(signature, {"inputs": examples.serialized_examples(message)}, wanted)
