"""Before any load: every request of an endpoint is asked once, its answer checked, and its users are connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract import StageError
from loadtest.client.prepared import PreparedRequests
from loadtest.client.requests import BrokenAnswerError
from loadtest.client.target import Check, Target, assemble, build_target
from loadtest.generator.hub_socket import HubSocket
from loadtest.generator.users import ParkedUsers
from loadtest.plan import EndpointPlan, Run
from loadtest.scenarios import Closed, Offline, Scenario

WARM_UP_USERS = 8


class PreflightError(Exception):
    """An endpoint that does not give right answers before any load."""


class ReadyEndpoint:
    """An endpoint of a plan with its requests asked once and its users connected."""

    def __init__(self, plan: EndpointPlan, repository: Path) -> None:
        """Ask the requests of every run; where those of a run can't be answered, only that run is left out."""
        self.plan = plan
        self.targets: dict[int, Target] = {}
        self.refused: dict[int, str] = {}
        """Why the requests of so many samples can't be sent."""
        for batch in sorted({1, *(batch_of(run.scenario) for run in plan.runs)} if plan.runs else {1}):
            try:
                self.targets[batch] = checked_target(plan, repository, batch)
            except (PreflightError, StageError) as error:
                self.refused[batch] = str(error)
        self.runs = [run for run in plan.runs if batch_of(run.scenario) in self.targets]
        self.warmed_up_s = 0.0
        self.warm_up_rps: float | None = None
        closed = [run.scenario.users for run in self.runs if isinstance(run.scenario, Closed | Offline)]
        self.users = ParkedUsers(self.first, max([WARM_UP_USERS, *closed])) if self.is_ready else None

    @property
    def is_ready(self) -> bool:
        """Whether any of its requests is answered."""
        return bool(self.targets)

    @property
    def first(self) -> Target:
        """Its target for single samples, or for the smallest batch that is answered."""
        return self.targets[min(self.targets)]

    def left_out(self) -> list[tuple[Run, str]]:
        """The runs that can't be made, and why."""
        batches = [(run, batch_of(run.scenario)) for run in self.plan.runs]
        return [(run, self.refused[batch]) for run, batch in batches if batch in self.refused]


def checked_target(plan: EndpointPlan, repository: Path, batch: int) -> Target:
    """The endpoint's requests of `batch` samples, each asked once and answered rightly."""
    target = _target(plan, repository, batch)
    preflight(target)
    return target


def preflight(target: Target) -> None:
    """Ask every request once and check the answer; the requests' right answers are known from here on."""
    connection = target.connection(HubSocket)
    index = 0
    try:
        for index, request in enumerate(target.requests):
            fault = target.fault(index, connection.exchange(request))
            if fault:
                raise PreflightError(f"wrong answer to sample {index}: {fault}")
    except (OSError, BrokenAnswerError, ValueError) as error:
        raise PreflightError(f"no answer to sample {index}: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


def batch_of(scenario: Scenario) -> int:
    """Samples in a request."""
    return scenario.batch if isinstance(scenario, Offline) else 1


def _target(plan: EndpointPlan, repository: Path, batch: int) -> Target:
    if plan.prepared:
        return PreparedRequests.read(Path(plan.prepared)).target(plan.endpoint)
    if plan.fixed is None:
        return build_target(plan.endpoint, repository, batch)

    def decode(_body: bytes, headers: object) -> dict[str, Any]:
        raise ValueError(f"not the one right answer ({headers})")

    grpc = plan.endpoint.protocol == "grpc"
    check = Check(decode, lambda _: "", 0 if grpc else 200)
    check.right.add((plan.fixed.answer, () if grpc else tuple(plan.fixed.answer_headers.items())))
    return assemble(plan.endpoint, [plan.fixed.call], [check], "", batch)
