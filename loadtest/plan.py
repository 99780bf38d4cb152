"""What the comparison asks of the load generator: a JSON file of visits, each an endpoint with the runs to make there
in turn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contract import write_whole
from loadtest.generator.rate_search import Search
from loadtest.scenarios import Scenario, from_fields, to_fields
from serving.server import Call, Endpoint


@dataclass(frozen=True)
class Run:
    """One endpoint under one scenario, once."""

    scenario: Scenario
    round: int
    seed: int
    path: str
    """Where the result goes, without suffix: `.json` and `.npz` are added."""


@dataclass(frozen=True)
class Fixed:
    """A request and its one right answer, for a null server: the body, and the headers that decoding reads."""

    call: Call
    answer: bytes
    answer_headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True)
class Visit:
    """One endpoint and what to run there; `context` is copied into every result."""

    endpoint: Endpoint
    runs: tuple[Run, ...]
    server_pid: int | None = None
    """Root of the server's process tree; None where it is not ours to look into."""
    warm_up_s: float = 0.0
    target_ms: float = 5.0
    context: dict[str, Any] = field(default_factory=dict)
    fixed: Fixed | None = None
    prepared: str = ""
    """A file of `loadtest.client.prepared` whose requests are sent in place of the repository's samples."""
    search: Search | None = None
    """The search for the highest rate that meets the target, made after the runs."""


def write_plan(path: Path, repository: Path, visits: list[Visit]) -> None:
    """Write the visits to `path`."""
    write_whole(path, json.dumps({"repository": str(repository), "visits": [_fields(v) for v in visits]}).encode())


def read_plan(path: Path) -> tuple[Path, list[Visit]]:
    """The model repository and the visits in `path`."""
    found = json.loads(path.read_bytes())
    return Path(found["repository"]), [_visit(fields) for fields in found["visits"]]


def _fields(visit: Visit) -> dict[str, Any]:
    fixed = visit.fixed
    return {
        "endpoint": asdict(visit.endpoint),
        "runs": [{**asdict(run), "scenario": to_fields(run.scenario)} for run in visit.runs],
        "server_pid": visit.server_pid,
        "warm_up_s": visit.warm_up_s,
        "target_ms": visit.target_ms,
        "context": visit.context,
        "prepared": visit.prepared,
        "search": asdict(visit.search) if visit.search else None,
        "fixed": fixed
        and {
            "path": fixed.call.path,
            "headers": dict(fixed.call.headers),
            "body": fixed.call.body.hex(),
            "answer": fixed.answer.hex(),
            "answer_headers": fixed.answer_headers,
        },
    }


def _visit(fields: dict[str, Any]) -> Visit:
    runs = tuple(Run(**{**run, "scenario": from_fields(run["scenario"])}) for run in fields["runs"])
    fixed = fields["fixed"] and Fixed(
        Call(fields["fixed"]["path"], bytes.fromhex(fields["fixed"]["body"]), fields["fixed"]["headers"]),
        bytes.fromhex(fields["fixed"]["answer"]),
        fields["fixed"]["answer_headers"],
    )
    rest = {key: fields[key] for key in ("server_pid", "warm_up_s", "target_ms", "context", "prepared")}
    search = Search(**fields["search"]) if fields["search"] else None
    return Visit(endpoint=Endpoint(**fields["endpoint"]), runs=runs, fixed=fixed, search=search, **rest)
