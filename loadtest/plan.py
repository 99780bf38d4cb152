"""What a run asks of the load generator: a JSON file of endpoints, each with its runs; reads and writes it.

The endpoints of a plan take turns block by block.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contract import write_whole
from loadtest.fields import read_fields
from loadtest.scenarios import Scenario, from_fields, to_fields
from serving.server import Call, Endpoint


@dataclass(frozen=True)
class Run:
    """One endpoint under one scenario in one round: `blocks` blocks, each as long as the scenario says."""

    scenario: Scenario
    round: int
    seed: int
    path: str
    """Where the result goes, without suffix: `.json` and `.npz` are added."""
    blocks: int = 1
    lead_in_s: float = 0.0
    """Load before each block's zero, which does not count: it warms connections and batches."""


@dataclass(frozen=True)
class FixedResponse:
    """A request and its one right answer, for a null server: the body, and the headers that decoding reads."""

    call: Call
    answer: bytes
    answer_headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass
class Search:
    """One search: where its result goes, and what is known beforehand."""

    path: str
    seed: int
    ceiling_rps: float | None
    """What the client reaches at most, by its calibration."""
    above_rps: float = 0.0
    """Only a higher rate is of interest: where the first probe a step above fails, the search ends."""

    def next_seed(self) -> int:
        """A seed of its own for every probe."""
        self.seed += 1
        return self.seed


@dataclass(frozen=True)
class EndpointPlan:
    """One endpoint and what to run there; `context` is copied into every result."""

    endpoint: Endpoint
    runs: tuple[Run, ...]
    server_pid: int | None = None
    """Root of the server's process tree; None where it is not ours to look into."""
    warm_up_s: float = 0.0
    target_ms: float = 5.0
    context: dict[str, Any] = field(default_factory=dict)
    fixed: FixedResponse | None = None
    prepared: str = ""
    """A file of `loadtest.client.prepared` whose requests are sent in place of the repository's samples."""
    search: Search | None = None
    """The search for the highest rate that meets the target, made after the runs."""


def write_plan(path: Path, repository: Path, plans: list[EndpointPlan]) -> None:
    """Write the plans to `path`."""
    write_whole(path, json.dumps({"repository": str(repository), "plans": [_fields(plan) for plan in plans]}).encode())


def read_plan(path: Path) -> tuple[Path, list[EndpointPlan]]:
    """The model repository and the plans in `path`."""
    fields = json.loads(path.read_bytes())
    return Path(fields["repository"]), [_plan_of(plan) for plan in fields["plans"]]


def _fields(plan: EndpointPlan) -> dict[str, Any]:
    fixed = plan.fixed
    return {
        **{key: getattr(plan, key) for key in ("server_pid", "warm_up_s", "target_ms", "context", "prepared")},
        "endpoint": asdict(plan.endpoint),
        "runs": [{**asdict(run), "scenario": to_fields(run.scenario)} for run in plan.runs],
        "search": asdict(plan.search) if plan.search else None,
        "fixed": fixed
        and {
            "path": fixed.call.path,
            "headers": dict(fixed.call.headers),
            "body": fixed.call.body.hex(),
            "answer": fixed.answer.hex(),
            "answer_headers": fixed.answer_headers,
        },
    }


def _plan_of(fields: dict[str, Any]) -> EndpointPlan:
    runs = tuple(Run(**{**run, "scenario": from_fields(run["scenario"])}) for run in fields["runs"])
    fixed = fields["fixed"] and FixedResponse(
        Call(fields["fixed"]["path"], bytes.fromhex(fields["fixed"]["body"]), fields["fixed"]["headers"]),
        bytes.fromhex(fields["fixed"]["answer"]),
        fields["fixed"]["answer_headers"],
    )
    search = read_fields(Search, fields["search"]) if fields["search"] else None
    rest = {key: fields[key] for key in ("server_pid", "warm_up_s", "target_ms", "context", "prepared")}
    return EndpointPlan(endpoint=Endpoint(**fields["endpoint"]), runs=runs, fixed=fixed, search=search, **rest)
