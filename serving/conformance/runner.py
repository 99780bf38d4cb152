"""Runs the cases of one API against one server, and tells how each came out."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from contract import StageError
from serving.conformance.case import LEVELS, Case, NotApplicable, Violation, brief
from serving.conformance.subject import Subject

FOLDER = Path(__file__).parent / "cases"
APIS = ("tfserving", "torchserve", "oip-rest", "oip-grpc")


@dataclass(frozen=True)
class Result:
    """One case put to one server; `outcome` is pass, fail, observed or not applicable."""

    name: str
    level: str
    source: str
    outcome: str
    observed: str = ""


@dataclass(frozen=True)
class Verdict:
    """All cases of one API put to one server."""

    endpoint: str
    api: str
    engine: str
    cases: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    """Sets of cases that were left out, and why."""

    def count(self, level: str, outcome: str | None = None) -> int:
        """How many cases of a level came out so; without an outcome, how many were decided."""
        outcomes = (outcome,) if outcome else ("pass", "fail")
        return sum(case.level == level and case.outcome in outcomes for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """As `conformance` of report.json has it."""
        return {**asdict(self), "cases": [asdict(case) for case in self.cases], "notes": list(self.notes)}


def modules_of(api: str) -> list[ModuleType]:
    """The modules with the cases of an API, found by their names."""
    if api not in APIS:
        raise StageError(f"no API {api!r}: choose from {', '.join(APIS)}")
    prefix = api.replace("-", "_")
    names = sorted(path.stem for path in FOLDER.glob(f"{prefix}_*.py"))
    return [importlib.import_module(f"serving.conformance.cases.{name}") for name in names]


def cases_of(api: str) -> list[Case]:
    """Every case of an API, those included that need special models."""
    return [case for module in modules_of(api) for case in module.CASES]


def run(api: str, subject: Subject, endpoint: str, engine: str = "") -> Verdict:
    """Put all cases of `api` that apply to `subject`."""
    cases: list[Case] = []
    notes = []
    for module in modules_of(api):
        reason = module.applies(subject) if hasattr(module, "applies") else None
        if reason:
            notes.append(f"{len(module.CASES)} recorded exchanges left out: {reason}")
        else:
            cases += module.CASES
    cases.sort(key=lambda case: LEVELS.index(case.level))
    progress = tqdm(cases, desc=f"{endpoint} {api}", unit="case", leave=False, disable=None)
    return Verdict(endpoint, api, engine, tuple(_put(case, subject) for case in progress), tuple(notes))


def _put(case: Case, subject: Subject) -> Result:
    try:
        observed = case.check(subject)
    except NotApplicable as reason:
        return Result(case.name, case.level, case.source, "not applicable", str(reason))
    except Violation as violation:
        return Result(case.name, case.level, case.source, "fail", str(violation))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        # an answer of a form that the check did not foresee is the server's; it must not end the run
        return Result(case.name, case.level, case.source, "fail", brief(f"unreadable answer: {error!r}"))
    outcome = "observed" if case.level == "REPORT" else "pass"
    return Result(case.name, case.level, case.source, outcome, observed or "")
