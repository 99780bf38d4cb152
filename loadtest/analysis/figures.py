"""The figures of a report: an estimate with its interval, a point (endpoint x scenario), an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that holds it: 95 % for one by itself, simultaneous for a ratio of the family."""

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None
    """Standard error of the logarithm: between starts and within them together."""
    degrees: float | None = None
    """Degrees of freedom of `error`."""

    @property
    def half_width(self) -> float | None:
        """Half the interval's width relative to the value; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2 / self.value


@dataclass(frozen=True)
class Split:
    """Where the time of a request goes, as the server itself tells it."""

    users: int
    requests: int
    latency_ms: float
    queue_ms: float
    compute_ms: float
    rest_ms: float
    batch_rows: float


@dataclass(frozen=True)
class Start:
    """The figures of one start of the server; None what that start alone can't state."""

    number: int
    blocks: int
    requests: int
    throughput_rps: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Point:
    """One endpoint under one scenario: the blocks of all starts put together."""

    name: str
    """`single_stream`, `closed-32`, `open`, …"""
    kind: Literal["closed", "open", "burst", "offline"]
    users: int
    batch: int
    """Samples in a request."""
    starts: tuple[Start, ...]
    blocks: int
    block_s: float
    """Seconds of a block."""
    requests: int
    failures: int
    wrong_answers: int
    validity: Literal["VALID", "INVALID"]
    reasons: tuple[str, ...] = ()
    """Why it is INVALID; it is shown, and never ranked."""
    client_limited: bool = False
    explanations: tuple[str, ...] = ()
    """Texts of the first failures and wrong answers."""
    rate_rps: float | None = None
    """Of an open scenario: the requests sent per second."""
    throughput_rps: Estimate | None = None
    goodput_rps: Estimate | None = None
    samples_per_s: float | None = None
    p50_ms: Estimate | None = None
    p90_ms: Estimate | None = None
    p95_ms: Estimate | None = None
    p99_ms: Estimate | None = None
    max_ms: float | None = None
    needs: dict[str, int] = field(default_factory=dict)
    """Requests that each percentile needs which these could not state: `{"p99": 662}`."""
    quantiles_ms: tuple[float, ...] = ()
    """101 quantiles of the latency from the intended send, 0 to 100 %; empty without requests."""
    from_send_ms: dict[str, float] = field(default_factory=dict)
    """Open scenarios: percentiles of the latency from the actual send."""
    schedule_lag_p99_ms: float | None = None
    cpu_s_per_1000: Estimate | None = None
    """Processor seconds of the server's processes for 1,000 right answers."""
    context_switches_per_1000: float | None = None
    throttled_s: float | None = None
    client_cpu_share: float | None = None
    idle_cpu_share: float | None = None
    """The most that the servers not being measured took of a core during one of its blocks."""
    marked_blocks: int = 0
    """Blocks in which the idle servers took more than 1 %."""
    split: Split | None = None


@dataclass(frozen=True)
class ColdStart:
    """Seconds from the start of a server's process, alone on the machine: medians over its starts."""

    live_s: float | None
    ready_s: float | None
    first_answer_s: Estimate | None


@dataclass(frozen=True)
class EndpointReport:
    """Everything that was measured of one endpoint."""

    name: str
    server: str
    engine: str
    artifact: str
    protocol: str
    framework: str
    """Of the artifact: `tensorflow`, `pytorch`, or "" where its manifest names none."""
    format: str
    settings: dict[str, int] | None
    """None for a server that was not started here."""
    points: tuple[Point, ...]
    cold_start: ColdStart | None = None
    peak_rss_bytes: int | None = None
    steady_rss_bytes: int | None = None
    threads: int | None = None
    request_bytes: int | None = None
    request_wire_bytes: int | None = None
    response_bytes: int | None = None
    size_bytes: int | None = None
    """Of the artifact's files: what has to be shipped."""
    samples_sha256: str = ""
    stands_in_for: str = ""
    """The genuine program that this engine stands in for; "" where the server is the genuine one."""

    def point(self, scenario: str) -> Point | None:
        """Its figures under a scenario, None where it was not measured."""
        return next((point for point in self.points if point.name == scenario), None)
