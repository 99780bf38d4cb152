"""What the genuine TensorFlow Serving 2.20.0 answered, replayed: applies where the server hosts the recorded models.

The exchanges are in `recorded/`, over models called half_plus_two (version 123), two (123 and 124 with the labels
stable and canary), multi, types and cls. A case recorded as `exact` is a MUST: status, JSON by value, error text.
`status` is a SHOULD: the status, and an error text that begins alike. `quirk` is only looked at.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from serving.conformance.case import Cases, NotApplicable, brief, expect
from serving.conformance.exchange import Reply, ask
from serving.conformance.subject import Subject

CASES = Cases("tfserving", "recorded from TensorFlow Serving 2.20.0")
RECORDED = Path(__file__).parents[1] / "recorded"
LEVELS = {"exact": "MUST", "status": "SHOULD", "quirk": "REPORT"}
OWN_WORDS = (
    "JSON Parse error: ",
    "JSON Value: ",
    "JSON object: ",
    "goo.gle/",
    "\n\t [[",
    "Data types don't match.",
    "Incompatible shapes: ",
)
"""From here on a text is a parser's or a kernel's own, or a dump whose layout changes from run to run."""
MODELS = ("half_plus_two", "two", "multi", "types", "cls")


def applies(subject: Subject) -> str | None:
    """Why the exchanges can't be replayed on this server, or None."""
    absent = [name for name in MODELS if subject.get(f"/v1/models/{name}").status != 200]
    return f"the server doesn't host the recorded models {', '.join(absent)}" if absent else None


def _exchanges(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def _bytes(exchange: dict[str, Any], key: str) -> bytes | None:
    if f"{key}_base64" in exchange:
        return base64.b64decode(exchange[f"{key}_base64"])
    text = exchange.get(key)
    return None if text is None else text.encode()


def _replay(exchange: dict[str, Any]) -> Callable[[Subject], str | None]:
    def check(subject: Subject) -> str | None:
        headers = {name: value for name, value in exchange["headers"].items() if name != "Host"}
        reply = ask(subject.rest, exchange["method"], exchange["path"], _bytes(exchange, "body"), headers)
        if exchange["level"] == "quirk":
            return f"{brief(reply, 80)} (recorded: {exchange['status']})"
        expect(reply.status == exchange["status"], f"{reply}; recorded: {exchange['status']}")
        compare_bodies(reply, _bytes(exchange, "response_body") or b"", exact=exchange["level"] == "exact")
        return None

    return check


def compare_bodies(reply: Reply, recorded: bytes, *, exact: bool) -> None:
    """Raise Violation where the answer differs from the recorded one by more than its level allows."""
    wanted = Reply(reply.status, {}, recorded)
    if wanted.error:
        from_kernel = "\n\t [[" in wanted.error  # a kernel words it now one way, now the other
        exact = exact and not from_kernel
        same = same_text(reply.error, wanted.error) if exact else reply.error.startswith(stable_part(wanted.error))
        expect(same, f"{reply}; recorded: {wanted.error!r}")
    elif exact and wanted.document is not None:
        expect(same_value(reply.document, wanted.document), f"{brief(reply)}; recorded: {brief(recorded)}")
    elif exact:
        expect(reply.body == recorded, f"{brief(reply)}; recorded: {brief(recorded)}")


def same_text(text: str, wanted: str) -> bool:
    """Whether two error texts are equal but for the layout of the values that they show."""
    return "".join(text.split()) == "".join(wanted.split())


def stable_part(text: str) -> str:
    """An error text up to where it becomes a parser's or a kernel's own."""
    places = [text.index(words) + len(words.rstrip()) for words in OWN_WORDS if words in text]
    return text[: min(places, default=len(text))]


def same_value(value: Any, other: Any) -> bool:
    """Whether two JSON values are equal: numbers as float32, key order free, NaN equal to itself."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same_value(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same_value, value, other))
    if isinstance(value, float) and isinstance(other, float | int) and not isinstance(other, bool):
        with np.errstate(over="ignore"):
            return bool(np.float32(value) == np.float32(other)) or (math.isnan(value) and math.isnan(other))
    return bool(value == other) and type(value) is type(other)


@cache
def _protos() -> dict[str, tuple[Any, Any]]:
    """Request and response class of every recorded method; needs tensorflow-serving-api and the TensorFlow below it."""
    if importlib.util.find_spec("tensorflow_serving") is None:
        raise NotApplicable("needs the package tensorflow-serving-api")
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    )

    service = "/tensorflow.serving.PredictionService/"
    return {
        f"{service}Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        f"{service}Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
        f"{service}Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
        f"{service}MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
        f"{service}GetModelMetadata": (
            get_model_metadata_pb2.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
        "/tensorflow.serving.ModelService/GetModelStatus": (
            get_model_status_pb2.GetModelStatusRequest,
            get_model_status_pb2.GetModelStatusResponse,
        ),
    }


def _replay_grpc(exchange: dict[str, Any]) -> Callable[[Subject], str | None]:
    def check(subject: Subject) -> None:
        if not subject.rpc:
            raise NotApplicable("no gRPC address: give --grpc host:port")
        from google.protobuf import json_format, text_format

        if "_reload_" in exchange["name"]:
            raise NotApplicable("follows a change of the server's configuration")
        request, response = _protos()[exchange["rpc"]]
        called = subject.call(exchange["rpc"], text_format.Parse(exchange.get("request_text", ""), request()))
        expect(called.code == exchange["code"], f"{called}; recorded: {exchange['code']} {exchange.get('message', '')}")
        if called.code != "OK":
            text = stable_part(exchange.get("message") or "")
            expect(called.details.startswith(text), f"{called}; recorded: {exchange.get('message')!r}")
            return
        answer, wanted = response.FromString(called.body), text_format.Parse(exchange["response_text"], response())
        same = same_value(json_format.MessageToDict(answer), json_format.MessageToDict(wanted))
        expect(same, f"{brief(answer)}; recorded: {brief(wanted)}")

    return check


for _exchange in _exchanges("tfserving_rest.jsonl"):
    _claim = f"REST {_exchange['name']}: {_exchange['method']} {brief(_exchange['path'], 60)}"
    CASES.add(_claim, LEVELS[_exchange["level"]], f"level {_exchange['level']}", _replay(_exchange))
for _exchange in _exchanges("tfserving_grpc.jsonl"):
    _claim = f"gRPC {_exchange['name']}: {_exchange['rpc'].rsplit('/', 1)[1]}"
    CASES.add(_claim, "MUST", "gRPC", _replay_grpc(_exchange))
