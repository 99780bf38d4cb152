"""One version of one model in service: loaded by its format, warmed up with the repository's samples, batched."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import Manifest, StageError, Tensors
from export.format import LoadedModel, find_format
from serving.hosting.batcher import Batcher
from serving.hosting.metrics import Metrics
from serving.hosting.model_metrics import ModelMetrics
from serving.hosting.signature import Signature, to_refusal
from serving.repository import read_samples

LONG_RUN_S = 0.010
"""A full batch that takes longer runs in a thread of its own, or health checks would wait for it."""
WARM_UP_S = 5.0
"""No run of the warm-up begins later than this, nor one that would go on for longer."""
WARM_UP_RUNS = 4


@dataclass(frozen=True)
class HostSettings:
    """How models are hosted."""

    threads: int = 1
    max_batch_size: int = 32
    max_queue_delay_us: int = 0
    max_queue_size: int = 1024
    versions: int = 1
    """How many of the newest versions are served; 0 serves all."""
    run_in: str = "auto"
    """`loop`, `thread`, or `auto`: a thread where a full batch takes longer than LONG_RUN_S."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of one model, warm and ready; a `model_version.Servable`."""

    name: str
    version: str
    format: str
    signature: Signature
    batcher: Batcher
    metrics: ModelMetrics

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""
        return self.batcher.busy

    def close(self) -> None:
        """Fail what waits and let the thread go."""
        self.batcher.close()


def load_served(name: str, number: int, folder: Path, settings: HostSettings, metrics: Metrics) -> ServedModel:
    """Load and warm up `<repository>/<artifact>/<version>/`; raises what the runtime raises on a bad file."""
    artifact = folder.parent
    manifest = Manifest.read(artifact, "make export")
    listed = {path: sha for path, sha in manifest.sha256.items() if path.startswith(f"{folder.name}/")}
    Manifest(**{**vars(manifest), "sha256": listed}).check_files(artifact, "make export")
    loaded = find_format(manifest.format).load(folder, settings.threads)
    signature = Signature(loaded.inputs, loaded.outputs, manifest.batching.may_join)
    rows = settings.max_batch_size if signature.joins else 1
    run_s = warm_up(name, loaded, read_warm_up(artifact.parent, loaded), rows)
    counts = ModelMetrics(metrics, name, str(number))
    batcher = Batcher(
        loaded.run,
        max_batch_size=rows,
        max_queue_delay_us=settings.max_queue_delay_us,
        max_queue_size=settings.max_queue_size,
        in_thread=settings.run_in == "thread" or (settings.run_in == "auto" and run_s > LONG_RUN_S),
        observe=counts.observe_run,
        on_failure=lambda error: counts.count(to_refusal(error).status),
    )
    return ServedModel(name, str(number), manifest.format, signature, batcher, counts)


def read_warm_up(repository: Path, loaded: LoadedModel) -> Tensors | None:
    """The repository's samples as the model's inputs; None where there are none that fit."""
    try:
        samples = read_samples(repository)
    except (StageError, OSError, ValueError):
        return None  # a warm-up is all that is lost
    inputs = {spec.name: samples.inputs.get(spec.name) for spec in loaded.inputs}
    found = {name: array for name, array in inputs.items() if array is not None and array.ndim and len(array)}
    return found if len(found) == len(loaded.inputs) else None


def warm_up(name: str, loaded: LoadedModel, samples: Tensors | None, rows: int) -> float:
    """Run real samples, one and then `rows` at once, within WARM_UP_S; the seconds of the largest run that was made.

    Without samples nothing is run: invented inputs may change a model's state. A failure is a line in the log.
    """
    if samples is None:
        return 0.0
    ends_s = time.perf_counter() + WARM_UP_S
    row_s = run_s = 0.0
    try:
        for count in (1, *[rows] * WARM_UP_RUNS):
            batch = {key: array[np.arange(count) % len(array)] for key, array in samples.items()}
            began_s = time.perf_counter()
            if began_s + row_s * count > ends_s:
                break
            loaded.run(batch)
            run_s = time.perf_counter() - began_s
            row_s = row_s or run_s
    except Exception as error:  # whatever a runtime raises: the model is served, and says the same to clients
        print(f"{name}: the warm-up failed: {type(error).__name__}: {error}"[:500], file=sys.stderr, flush=True)
    return run_s
