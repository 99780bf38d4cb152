"""The parts of a report that are taken over as they were found: machine, artifacts, training, conformance, rates.

The figures of the comparison itself are in `loadtest.analysis.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Machine:
    """What the comparison ran on."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str


@dataclass(frozen=True)
class Pinning:
    """Cores of the servers and of the load generator; None where they are not kept apart."""

    server_cpus: tuple[int, ...] | None
    client_cpus: tuple[int, ...] | None


@dataclass(frozen=True)
class Environment:
    """Machine, pinning, versions and commit."""

    machine: Machine
    pinning: Pinning
    versions: dict[str, str]
    git_commit: str | None = None
    git_dirty: bool | None = None
    cluster: dict[str, Any] | None = None
    """What the Kubernetes cluster says of itself; None outside of one."""


@dataclass(frozen=True)
class Client:
    """The load generator against a null server, per protocol."""

    protocol: str
    ceiling_rps: float
    floor_p50_ms: float
    floor_p99_ms: float | None
    schedule_lag_p99_ms: float | None
    request_bytes: int
    null_server_cpu_share: float | None = None
    client_cpu_share: float | None = None


@dataclass(frozen=True)
class InProcess:
    """An artifact run without any server."""

    artifact: str
    batch_size: int
    """Rows that one run really had."""
    latency_p50_ms: float
    latency_low_ms: float | None
    """95 % interval of the median, over groups of runs; None for too few runs."""
    latency_high_ms: float | None
    samples_per_s: float
    runs: int


@dataclass(frozen=True)
class Artifact:
    """What an artifact's manifest says."""

    name: str
    framework: str
    format: str
    size_bytes: int
    files_sha256: dict[str, str]
    test_accuracy: float | None = None
    max_abs_diff: float | None = None
    label_agreement: float | None = None
    samples: int | None = None
    """Samples that parity was checked on."""
    batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class NotExported:
    """A format that the model has no artifact of, and what would bring it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Epoch:
    """One epoch of a twin's training."""

    epoch: int
    loss: float
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Training:
    """How a framework's twin was trained."""

    framework: str
    epochs: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    test_accuracy: float | None = None
    epochs_log: tuple[Epoch, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """The highest open-loop rate of an endpoint that meets the target, by default settings or tuned ones."""

    name: str
    settings: Literal["default", "tuned"]
    setting: str
    """What differs from the defaults, e.g. `threads=2`."""
    rate_rps: float | None
    goodput_rps: float | None
    p99_ms: float | None
    cpu_share: float | None
    """Processor seconds per second that the server takes at the rate."""
    rss_bytes: int | None
    confirmed: bool
    client_limited: bool = False
    """The rate is a lower bound: the load generator was the limit."""
    reason: str = ""
    """Why there is no rate, "" where there is one."""
    replicas: int | None = None
    """Replicas that carry the asked rate with headroom; None where no rate was asked."""
    cost_per_million: float | None = None
    """Price of a million answers at the rate; None where no price was given."""


@dataclass(frozen=True)
class Rates:
    """The search for the highest rate: `make slo`."""

    target_ms: float
    percentile: str
    command: str
    rates: tuple[Rate, ...]
    asked_rps: float | None = None
    """The rate that replicas were computed for."""
    headroom: float | None = None
    """Share of a replica's rate that is left free."""
    price_per_vcpu_hour: float | None = None


@dataclass(frozen=True)
class Case:
    """One conformance case at one endpoint."""

    name: str
    level: str
    """MUST, SHOULD or REPORT."""
    source: str
    outcome: str
    """pass, fail, observed or skip."""
    observed: str = ""


@dataclass(frozen=True)
class Conformance:
    """The conformance cases of one endpoint."""

    endpoint: str
    api: str
    cases: tuple[Case, ...]
    engine: str = ""
