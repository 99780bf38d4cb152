"""The configuration messages that tensorflow-serving-api leaves out, and the files that hold them as text.

Field names and numbers are those of servables/tensorflow/session_bundle_config.proto (BatchingParameters) and
config/{monitoring_config,ssl_config}.proto of github.com/tensorflow/serving.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from contract import StageError
from serving.process.cpus import available_cpus
from serving.servers.tfserving.configuration import METRICS_PATH
from serving.servers.tfserving.model.execution import BatchingParameters

PACKAGE = "tensorflow.serving"
_INT64, _BOOL, _STRING, _MESSAGE = 3, 8, 9, 11  # FieldDescriptorProto.Type
_WRAPPER = ".google.protobuf."
_MESSAGES: dict[str, dict[str, tuple[int, int | str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _WRAPPER + "Int64Value"),
        "batch_timeout_micros": (2, _WRAPPER + "Int64Value"),
        "max_enqueued_batches": (3, _WRAPPER + "Int64Value"),
        "num_batch_threads": (4, _WRAPPER + "Int64Value"),
        "thread_pool_name": (5, _WRAPPER + "StringValue"),
        "allowed_batch_sizes": (6, _INT64),
        "pad_variable_length_inputs": (7, _BOOL),
        "enable_large_batch_splitting": (8, _WRAPPER + "BoolValue"),
        "max_execution_batch_size": (9, _WRAPPER + "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, _BOOL), "path": (2, _STRING)},
    "MonitoringConfig": {"prometheus_config": (1, f".{PACKAGE}.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, _STRING),
        "server_cert": (2, _STRING),
        "custom_ca": (3, _STRING),
        "client_verify": (4, _BOOL),
    },
}
_REPEATED = ("allowed_batch_sizes",)


@cache
def message_class(name: str) -> Any:
    """The class of one of the messages above."""
    file = descriptor_pb2.FileDescriptorProto(name="tfserving_text.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for title, members in _MESSAGES.items():
        message = file.message_type.add(name=title)
        for field, (number, kind) in members.items():
            added = message.field.add(name=field, number=number, label=3 if field in _REPEATED else 1)
            added.type = _MESSAGE if isinstance(kind, str) else kind  # type: ignore[assignment]
            if isinstance(kind, str):
                added.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def read_text(path: Path, name: str) -> Any:
    """The message in a text file; raises StageError where it is none."""
    try:
        return text_format.Parse(path.read_text(), message_class(name)())
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"can't read {path}: {error}") from None
    except text_format.ParseError as error:
        raise StageError(f"{path} is no {name}: {error}: correct it") from None


def read_batching(path: str) -> BatchingParameters:
    """The parameters in a `--batching_parameters_file`, or the defaults without one."""
    values: dict[str, Any] = {"num_batch_threads": available_cpus()}
    if path:
        message = read_text(Path(path), "BatchingParameters")
        for field in fields(BatchingParameters):
            if field.name == "allowed_batch_sizes":
                values[field.name] = tuple(message.allowed_batch_sizes)
            elif message.HasField(field.name):
                values[field.name] = getattr(message, field.name).value
    parameters = BatchingParameters(**values)
    _check(parameters, path)
    return parameters


def read_metrics_path(path: str) -> str | None:
    """Where the Prometheus page lies, or None where it is off."""
    if not path:
        return None
    config = read_text(Path(path), "MonitoringConfig").prometheus_config
    return (config.path or METRICS_PATH) if config.enable else None


def _check(parameters: BatchingParameters, path: str) -> None:
    sizes = parameters.allowed_batch_sizes
    if list(sizes) != sorted(set(sizes)) or any(size < 1 for size in sizes):
        raise StageError(f"{path}: allowed_batch_sizes must increase: {list(sizes)}")
    largest = parameters.max_execution_batch_size or parameters.max_batch_size
    if sizes and sizes[-1] != largest:
        raise StageError(f"{path}: the last of allowed_batch_sizes must be the largest batch, {largest}: {list(sizes)}")
    for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
        if getattr(parameters, name) < 1:
            raise StageError(f"{path}: {name} must be at least 1, is {getattr(parameters, name)}")
    if parameters.batch_timeout_micros < 0:
        raise StageError(f"{path}: batch_timeout_micros must not be negative")
