"""Replays the recorded gRPC calls against a server and prints one JSON line each: `python grpc_replay.py PORT`.

A process of its own because tensorflow-serving-api imports TensorFlow. The calls named `grpc_reload…` come last, after
the reloads that they were recorded behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

MODELS = Path(__file__).parent / "models"
RECORDED = Path(__file__).parents[4] / "serving/conformance/recorded/tfserving_grpc.jsonl"
CASES = [json.loads(line) for line in RECORDED.read_text().splitlines()]
TYPES = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
    "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    "MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusResponse),
    "HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest, model_management_pb2.ReloadConfigResponse),
}
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
ALL = ("half_plus_two", "two", "multi", "types", "cls", "odd", "tf2", "share")


def call(channel: grpc.Channel, rpc: str, request: Any) -> tuple[str, str, Any]:
    request_type, response_type = TYPES[rpc.rsplit("/", 1)[1]]
    method = channel.unary_unary(
        rpc, request_serializer=request_type.SerializeToString, response_deserializer=response_type.FromString
    )
    try:
        return "OK", "", method(request, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details(), None


def unpacked(response: Any) -> Any:
    """A response with the map in its Any, whose order is open, as a message of its own."""
    if not isinstance(response, get_model_metadata_pb2.GetModelMetadataResponse):
        return response
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return response.model_spec, signatures


def replay(channel: grpc.Channel, case: dict[str, Any]) -> dict[str, Any]:
    text = case.get("request_text", "")
    if text.endswith("..."):  # shortened in the recording
        text = f'model_spec {{ name: "{"n" * 4000}" }}'
    request = text_format.Parse(text, TYPES[case["rpc"].rsplit("/", 1)[1]][0]())
    code, message, response = call(channel, case["rpc"], request)
    equal = response is None
    if response is not None and "response_text" in case:
        equal = unpacked(response) == unpacked(text_format.Parse(case["response_text"], type(response)()))
    return {"name": case["name"], "code": code, "message": message, "equal": equal, "text": str(response)[:1500]}


def reload(channel: grpc.Channel, models: dict[str, str]) -> tuple[str, str, Any]:
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in models.items():
        added = request.config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
        if name == "two":
            added.model_version_policy.all.SetInParent()
            added.version_labels.update({"stable": 123, "canary": 124})
    return call(channel, RELOAD, request)


def main(port: str) -> None:
    paths = {name: str(MODELS / name) for name in ALL}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for case in CASES:
            if not case["name"].startswith("grpc_reload"):
                print(json.dumps(replay(channel, case)))
        later = {case["name"]: case for case in CASES if case["name"].startswith("grpc_reload")}
        assert reload(channel, {**paths, "q": paths["half_plus_two"]})[0] == "OK"
        print(json.dumps(replay(channel, later["grpc_reload_after_new"])))
        assert reload(channel, {name: path for name, path in paths.items() if name != "multi"})[0] == "OK"
        print(json.dumps(replay(channel, later["grpc_reload_after_removed_status"])))
        code, message, _ = reload(channel, {**paths, "z": "/no/such/folder"})
        assert (code, "no folder /no/such/folder" in message) == ("UNKNOWN", True), message
        for name in ("grpc_reload_missing_path_status", "grpc_reload_stuck_predict_still_works"):
            print(json.dumps(replay(channel, later[name])))
        assert reload(channel, paths)[0] == "OK"  # as it was, for the tests that follow


if __name__ == "__main__":
    main(sys.argv[1])
