"""What the report holds: one value, one version, one reader and one writer of `report.json`.

`Report.read(path)` reads it; `report.write(path)` writes it; `loadtest.analysis.summary.summarise` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from contract import StageError, shown, to_json, write_whole
from loadtest.analysis.facts import (
    Artifact,
    Client,
    Conformance,
    Environment,
    InProcess,
    NotExported,
    Rates,
    Training,
)
from loadtest.analysis.figures import EndpointReport, Estimate, Point
from loadtest.analysis.training_modes import TrainingModes
from loadtest.fields import FieldError, read_fields

VERSION = 2
"""Of the file; one of another version can't be read and has to be made again."""


@dataclass(frozen=True)
class Ranked:
    """An endpoint in a ranking, best first."""

    endpoint: str
    tier: int
    """1 is the best. Within a tier no difference from the tier's best endpoint is seen."""
    figure: Estimate
    times_best: Estimate | None = None
    """Its figure divided by that of the best endpoint of all, simultaneous; None for the best itself, or without
    replication.
    """


@dataclass(frozen=True)
class Unranked:
    """An endpoint that a ranking leaves out, and why."""

    endpoint: str
    reason: str


@dataclass(frozen=True)
class Ranking:
    """The answer to one question. Those with `inferred` False order figures that have no interval."""

    question: Literal["throughput", "latency_alone", "latency_open", "memory", "cpu", "start", "size", "cost"]
    scenario: str
    """The scenario that its figure is taken from, "" for what no scenario changes."""
    figure: str
    """Name and unit: `throughput_rps`, `p50_ms`, `p95_ms`, `peak_rss_bytes`, `cpu_s_per_1000`, `first_answer_s`,
    `size_bytes`, `cost_per_million`.
    """
    higher_is_better: bool
    inferred: bool
    ranked: tuple[Ranked, ...]
    unranked: tuple[Unranked, ...] = ()

    def tiers(self) -> list[list[Ranked]]:
        """The endpoints tier by tier, best first."""
        numbers = sorted({row.tier for row in self.ranked})
        return [[row for row in self.ranked if row.tier == number] for number in numbers]


@dataclass(frozen=True)
class Question:
    """A named comparison: two endpoints that differ in one thing only."""

    about: Literal["protocol", "framework", "format", "server"]
    question: Literal["throughput", "latency_alone", "latency_open"]
    a: str
    b: str
    a_value: str
    """What they differ in: `grpc`; b's is `rest`."""
    b_value: str
    ratio: Estimate
    """a's figure divided by b's, simultaneous."""
    outcome: Literal["a_better", "b_better", "no_difference"]


@dataclass(frozen=True)
class Overhead:
    """Server overhead: the served p50 of a single user divided by the in-process p50 of the same artifact."""

    endpoint: str
    factor: Estimate
    served_p50_ms: float
    in_process_p50_ms: float


@dataclass(frozen=True)
class OpenLoad:
    """The rate of the open scenarios, and where it comes from."""

    rate_rps: float
    chosen_by: Literal["share", "user"]
    share: float | None = None
    """Of the weakest endpoint's capacity."""
    weakest: str = ""
    """That endpoint."""
    weakest_rps: float | None = None


@dataclass(frozen=True)
class Family:
    """What the simultaneous intervals hold together."""

    error_rate: float
    """Probability that any of them is wrong, at most."""
    comparisons: int
    statement: str
    """The same in a sentence."""


@dataclass(frozen=True)
class Steadiness:
    """The machine itself: how far its speed drifted under all endpoints alike."""

    steady: bool
    drift: float | None
    """Standard deviation of the common drift of the speed, relative."""
    swing: float | None
    """Fastest over slowest common speed (5 % to 95 % of the blocks)."""
    marked_blocks: int = 0
    """Blocks in which servers that should have been idle took more than 1 % of a core."""
    notes: tuple[str, ...] = ()
    """What it means for the reader and what to do; empty on a steady machine."""


@dataclass(frozen=True)
class Design:
    """How the comparison was made."""

    profile: str
    seed: int
    starts: int
    blocks: int
    """Blocks of an endpoint under the scenario that has the most, over all starts."""
    block_s: float
    """Seconds of the shortest block."""
    groups: tuple[tuple[str, ...], ...]
    """Servers that were up together."""
    target_ms: float
    open_load: OpenLoad | None
    scenarios: tuple[str, ...]
    users: int
    """Users of the busiest closed scenario: `closed-<users>` answers the question of throughput."""
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Report:
    """One comparison."""

    comparison: str
    generated: str
    command: str
    complete: bool
    design: Design
    environment: Environment
    family: Family
    steadiness: Steadiness
    endpoints: tuple[EndpointReport, ...]
    rankings: tuple[Ranking, ...] = ()
    questions: tuple[Question, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    clients: tuple[Client, ...] = ()
    in_process: tuple[InProcess, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    not_exported: tuple[NotExported, ...] = ()
    training: tuple[Training, ...] = ()
    training_modes: TrainingModes | None = None
    slo: Rates | None = None
    conformance: tuple[Conformance, ...] = ()
    price_per_vcpu_hour: float | None = None
    version: int = VERSION

    def ranking(self, question: str) -> Ranking | None:
        """The answer to a question, None where it was not asked."""
        return next((ranking for ranking in self.rankings if ranking.question == question), None)

    def endpoint(self, name: str) -> EndpointReport | None:
        """The endpoint called `name`."""
        return next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The report in `path`; raises StageError with what to run for a file that is none, or of another version."""
        try:
            fields = json.loads(path.read_bytes())
        except OSError:
            raise StageError(f"no {shown(path)}: run `make compare`") from None
        except ValueError as error:
            raise StageError(f"{shown(path)} is not JSON ({error}): delete it and run `make report`") from None
        if not isinstance(fields, dict) or "endpoints" not in fields:
            raise StageError(f"{shown(path)} has no key `endpoints`, so it is no report: run `make report`")
        if (version := fields.get("version", 1)) != VERSION:
            remedy = "measure again with `make compare`"
            raise StageError(f"{shown(path)} is a report of version {version}, this is version {VERSION}: {remedy}")
        try:
            return read_fields(cls, fields)
        except FieldError as error:
            raise StageError(f"{shown(path)} is no report of version {VERSION} ({error}): run `make report`") from None

    def write(self, path: Path) -> None:
        """Write `path` whole."""
        write_whole(path, self.to_json().encode())

    def to_json(self) -> str:
        """The text of `report.json`."""
        return to_json(asdict(self))


def all_points(endpoints: Iterable[EndpointReport]) -> list[tuple[EndpointReport, Point]]:
    """Every endpoint with each of its points."""
    return [(endpoint, point) for endpoint in endpoints for point in endpoint.points]
