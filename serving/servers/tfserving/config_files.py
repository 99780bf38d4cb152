"""The configuration files of TensorFlow Serving, protobuf messages as text, read and checked.

The messages that tensorflow-serving-api leaves out are those of `serving/protos/tfserving_config.proto`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from contract import StageError
from serving.process.cpus import available_cpus
from serving.protos import message
from serving.servers.tfserving.configuration import METRICS_PATH
from serving.servers.tfserving.model.execution import BatchingParameters


def read_text(path: Path, name: str) -> Any:
    """The message in a text file; raises StageError where it is none."""
    try:
        return text_format.Parse(path.read_text(), message(f"tensorflow.serving.{name}")())
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"can't read {path}: {error}") from None
    except text_format.ParseError as error:
        raise StageError(f"{path} is no {name}: {error}: correct it") from None


def read_batching(path: str) -> BatchingParameters:
    """The parameters in a `--batching_parameters_file`, or the defaults without one."""
    values: dict[str, Any] = {"num_batch_threads": available_cpus()}
    if path:
        parameters = read_text(Path(path), "BatchingParameters")
        for field in fields(BatchingParameters):
            if field.name == "allowed_batch_sizes":
                values[field.name] = tuple(parameters.allowed_batch_sizes)
            elif parameters.HasField(field.name):
                values[field.name] = getattr(parameters, field.name).value
    checked = BatchingParameters(**values)
    _check(checked, path)
    return checked


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
