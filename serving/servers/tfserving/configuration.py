"""The three configuration files of TensorFlow Serving, as protobuf text.

Messages: tensorflow_serving/config/{model_server_config,monitoring_config}.proto and
servables/tensorflow/session_bundle_config.proto (BatchingParameters) of github.com/tensorflow/serving.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from contract import write_whole
from serving.server import Settings

METRICS_PATH = "/monitoring/prometheus/metrics"
MAX_ENQUEUED_BATCHES = 100
"""Batches that may wait before requests are refused: at 32 rows a batch, some seconds' worth."""


def write_configuration(folder: Path, base_paths: Mapping[str, Path], settings: Settings) -> None:
    """Write `models.config`, `batching.config` and `monitoring.config` into `folder`."""
    write_whole(folder / "models.config", models_config(base_paths).encode())
    write_whole(folder / "batching.config", batching_config(settings).encode())
    write_whole(folder / "monitoring.config", monitoring_config().encode())


def models_config(base_paths: Mapping[str, Path]) -> str:
    """A `ModelServerConfig` that serves the latest version below each path."""
    return "model_config_list {\n" + "".join(map(_model, base_paths, base_paths.values())) + "}\n"


def batching_config(settings: Settings) -> str:
    """`BatchingParameters`; read only where batching is on."""
    threads = settings.threads or len(os.sched_getaffinity(0))
    values = {
        "max_batch_size": settings.max_batch_size,
        "batch_timeout_micros": settings.max_queue_delay_us,
        "max_enqueued_batches": MAX_ENQUEUED_BATCHES,
        "num_batch_threads": threads,
    }
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in values.items())


def monitoring_config() -> str:
    """A `MonitoringConfig` that turns the Prometheus page on."""
    return f'prometheus_config {{\n  enable: true\n  path: "{METRICS_PATH}"\n}}\n'


def _model(name: str, path: Path) -> str:
    return (
        f"  config {{\n    name: {json.dumps(name)}\n    base_path: {json.dumps(str(path))}\n"
        '    model_platform: "tensorflow"\n  }\n'
    )
