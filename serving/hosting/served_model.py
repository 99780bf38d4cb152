"""One version of one model in service: loaded by its format, warmed up with the repository's samples, batched."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contract import Manifest, StageError
from export.format import LoadedModel, find_format
from serving.hosting.batcher import Batcher
from serving.hosting.errors import as_request_error
from serving.hosting.metrics import Metrics
from serving.hosting.model_metrics import ModelMetrics
from serving.hosting.run_placement import RunPlacement
from serving.hosting.signature import Signature
from serving.repository import read_samples

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
    """`loop`, `thread`, or `auto`: where measurements say, see `RunPlacement`."""


class ServedModel:
    """One version of one model, warm and ready; a `model_version.Servable`."""

    def __init__(
        self, name: str, version: str, format_name: str, signature: Signature, batcher: Batcher, metrics: ModelMetrics
    ) -> None:
        self.name = name
        self.version = version
        self.format = format_name
        self.signature = signature
        self.batcher = batcher
        self.metrics = metrics
        self._users = 0

    @property
    def busy(self) -> bool:
        """Whether requests are being read, wait or run."""
        return self._users > 0 or self.batcher.busy

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it loaded while a request for it is read in a thread."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    def count_error(self, error: BaseException) -> None:
        """Count a request that is answered with an error before it is queued."""
        self.metrics.count(as_request_error(error).status)

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
    rows = manifest.batching.rows_of(settings.max_batch_size) if signature.joins else 1
    placement = RunPlacement(None if settings.run_in == "auto" else settings.run_in)
    warm_up(name, loaded, artifact.parent, rows, placement)
    counts = ModelMetrics(metrics, name, str(number))
    batcher = Batcher(
        loaded.run,
        max_batch_size=rows,
        max_queue_delay_us=settings.max_queue_delay_us,
        max_queue_size=settings.max_queue_size,
        placement=placement,
        observe=counts.observe_run,
        on_failure=lambda error: counts.count(as_request_error(error).status),
    )
    return ServedModel(name, str(number), manifest.format, signature, batcher, counts)


def warm_up(
    name: str,
    loaded: LoadedModel,
    repository: Path,
    rows: int,
    placement: RunPlacement,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run real samples, one and then `rows` at once, within WARM_UP_S, and let `placement` learn their times.

    Without samples nothing is run, and a model that keeps state never is. A failure is a line in the log.
    """
    names = {spec.name for spec in loaded.inputs}
    row_s = 0.0
    ends_s = clock() + WARM_UP_S
    try:
        samples = read_samples(repository)
        if loaded.stateful or not names <= samples.inputs.keys():
            return
        for repeat, count in enumerate((1, 1, *[rows] * WARM_UP_RUNS)):
            taken = samples.take([row % len(samples) for row in range(count)])
            batch = {key: array for key, array in taken.items() if key in names}
            began_s = clock()
            if began_s + row_s * count > ends_s:
                return
            loaded.run(batch)
            run_s = clock() - began_s
            row_s = row_s or run_s
            if repeat not in (0, 2):  # the first run of a shape also allocates
                placement.ran(sum(array.nbytes for array in batch.values()), run_s)
    except StageError:
        return  # there are no samples, or none that make a batch
    except Exception as error:  # whatever a runtime raises: the model is served, and says the same to clients
        print(f"{name}: the warm-up failed: {type(error).__name__}: {error}"[:500], file=sys.stderr, flush=True)
