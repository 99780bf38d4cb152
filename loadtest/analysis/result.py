"""One result: an endpoint under a scenario in a round, as the generator writes it beside the raw times (`.npz`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from contract import StageError, shown, to_json, write_whole
from loadtest.analysis.blocks import Block, block_of
from loadtest.analysis.facts import Environment
from loadtest.analysis.figures import Split
from loadtest.fields import FieldError, read_fields
from loadtest.raw_times import read_raw
from loadtest.scenarios import Closed, Offline, Scenario, from_fields


@dataclass(frozen=True)
class MeasuredEndpoint:
    """The endpoint as it was measured."""

    server: str
    artifact: str
    protocol: str
    port: int
    host: str
    engine: str
    name: str


@dataclass(frozen=True)
class ServerUse:
    """What the server's processes used during the run's blocks; None where they are not ours to look into."""

    cpu_s: float | None = None
    rss_bytes: int | None = None
    peak_rss_bytes: int | None = None
    context_switches: int | None = None
    throttled_s: float | None = None
    processes: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ClientUse:
    """What the load generator used."""

    cpu_s: float
    cpu_share: float
    workers: int = 1


@dataclass(frozen=True)
class BlockUse:
    """One block as it was driven."""

    began_s: float
    """On the machine's monotonic clock, which all endpoints of a round share."""
    elapsed_s: float
    """With what leads in and what drains."""
    right_answers: int
    """All of them, with those that lead in and drain."""
    server_cpu_s: float | None = None
    idle_cpu_share: float | None = None
    """Processor time of the other servers, over the time."""


@dataclass(frozen=True)
class ColdSeconds:
    """Seconds from the start of the server's process."""

    live_s: float | None = None
    ready_s: float | None = None
    first_answer_s: float | None = None


@dataclass(frozen=True)
class Result:
    """What a run found. One whose endpoint could not be asked has a `preflight_error` and no figures."""

    endpoint: MeasuredEndpoint
    scenario_name: str
    scenario: dict[str, Any]
    """As `loadtest.scenarios.to_fields` writes it; its seconds are those of a block."""
    round: int
    seed: int
    preflight_error: str = ""
    requests: int = 0
    failures: int = 0
    wrong_answers: int = 0
    elapsed_s: float = 0.0
    """Of all blocks together."""
    throughput_rps: float = 0.0
    goodput_rps: float = 0.0
    target_ms: float = 5.0
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    latency_from_send_ms: dict[str, float | None] | None = None
    schedule_lag_ms: dict[str, float | None] | None = None
    capped: bool = False
    explanations: tuple[str, ...] = ()
    started: str = ""
    batch: int = 1
    samples_sha256: str = ""
    request_bytes: float | None = None
    request_wire_bytes: float | None = None
    response_bytes: float | None = None
    server: ServerUse = field(default_factory=ServerUse)
    client: ClientUse = field(default_factory=lambda: ClientUse(0.0, 0.0))
    blocks: tuple[BlockUse, ...] = ()
    warm_up_s: float = 0.0
    warm_up_rps: float | None = None
    """Answers per second in its best piece, with 8 users: what the endpoint bears."""
    latency_split: Split | None = None
    comparison: str = ""
    command: str = ""
    environment: Environment | None = None
    settings: dict[str, int] | None = None
    cold_start: ColdSeconds | None = None

    @property
    def load(self) -> Scenario:
        """The scenario."""
        return from_fields(self.scenario)

    @property
    def closed_users(self) -> int:
        """Users of a closed loop, 0 for a schedule."""
        return self.load.users if isinstance(self.load, Closed | Offline) else 0

    @classmethod
    def read(cls, path: Path) -> Self:
        """The result in `path`; raises StageError where the file is none of this version."""
        try:
            return read_fields(cls, json.loads(path.read_bytes()))
        except (OSError, ValueError, FieldError) as error:
            raise StageError(f"{shown(path)} is no result of this version ({error}): measure again") from None

    def write(self, path: Path) -> None:
        """Write `path` whole."""
        write_whole(path, to_json(asdict(self)).encode())


def read_blocks(result: Result, raw: Path) -> list[Block]:
    """The figures of the result's blocks, from its raw times."""
    table, users = read_raw(raw), result.closed_users
    seconds = float(result.scenario["seconds"])
    blocks = []
    for number, use in enumerate(result.blocks):
        rows = {name: column[table["block"] == number] for name, column in table.items()}
        blocks.append(block_of(rows, use.began_s, seconds, users, result.target_ms))
    return blocks
