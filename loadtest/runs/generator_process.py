"""Starts the load generator, a Locust process of its own, and follows its results until all runs of a plan are made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

from contract import MODEL_REPOSITORY, ROOT, StageError
from loadtest.plan import EndpointPlan, write_plan
from serving.process.launcher import start
from serving.server import Launch

SPARE_S = 120.0
"""What a plan may take beyond the seconds of its scenarios before it counts as hung."""

SEARCH_S = 900.0


class Generator:
    """A generator process for the length of a block. It is started at once, so that it is ready when the server is."""

    def __init__(self, folder: Path, cpus: Collection[int] | None) -> None:
        self.plan, self.log, self.cpus = folder / "plan.json", folder / "generator.log", cpus

    def __enter__(self) -> Self:
        """Start it; it waits for a plan."""
        self.plan.unlink(missing_ok=True)
        argv = (sys.executable, "-m", "loadtest.locustfile", str(self.plan))
        self.running = start(Launch(argv, {"PYTHONUNBUFFERED": "1"}, ROOT), log=self.log, cpus=self.cpus)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.running.stop(timeout_s=2.0)

    def run(
        self, plans: list[EndpointPlan], repository: Path, on_result: Callable[[int], Any] = lambda _: None
    ) -> bool:
        """Make every run of `plans`; False where an endpoint failed its pre-flight (its results say why).

        Calls `on_result` with the number of results that came since the last call. Raises StageError with the end of
        the log where the generator itself fails.
        """
        awaited = [Path(run.path + ".json") for plan in plans for run in plan.runs]
        awaited += [Path(plan.search.path) for plan in plans if plan.search]
        seconds = sum(plan.warm_up_s + sum(run.scenario.seconds for run in plan.runs) for plan in plans)
        limit_s = 3 * seconds + sum(SEARCH_S if plan.search else SPARE_S for plan in plans)
        write_plan(self.plan, repository, plans)
        started_s = time.perf_counter()
        while self.running.exit_status is None:
            time.sleep(0.1)
            awaited = _still_awaited(awaited, on_result)
            if time.perf_counter() - started_s > limit_s:
                raise StageError(f"the load generator hangs after {limit_s:.0f} s:\n{self.running.last_lines()}")
        status = self.running.exit_status
        if status not in (0, 1) or _still_awaited(awaited, on_result):
            raise StageError(f"the load generator ended with status {status}:\n{self.running.last_lines(20)}")
        return status == 0


def run_generator(
    folder: Path, plans: list[EndpointPlan], cpus: Collection[int] | None, repository: Path = MODEL_REPOSITORY
) -> bool:
    """Make every run of `plans` with a generator of their own; see `Generator.run`."""
    with Generator(folder, cpus) as generator:
        return generator.run(plans, repository)


def _still_awaited(paths: list[Path], on_result: Callable[[int], None]) -> list[Path]:
    rest = [path for path in paths if not path.is_file()]
    if len(rest) < len(paths):
        on_result(len(paths) - len(rest))
    return rest


def run_to_end(argv: Sequence[str], log: Path, cpus: Collection[int] | None, limit_s: float) -> str:
    """Run another program pinned to `cpus` and return what it wrote; raises StageError where it fails
    or takes too long.
    """
    log.unlink(missing_ok=True)
    running = start(Launch(tuple(argv), {}, ROOT), log=log, cpus=cpus)
    try:
        while running.exit_status is None:
            time.sleep(0.05)
            if time.perf_counter() - running.started_s > limit_s:
                raise StageError(f"{argv[0]} takes longer than {limit_s:.0f} s:\n{running.last_lines()}")
        if running.exit_status != 0:
            raise StageError(f"{' '.join(argv[:3])} ended with status {running.exit_status}:\n{running.last_lines()}")
        return log.read_text(errors="replace")
    finally:
        running.stop()
