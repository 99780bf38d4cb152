"""Starts the load generator, a Locust process of its own, and follows its blocks until all runs of a plan are made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

from contract import MODEL_REPOSITORY, ROOT, StageError
from loadtest.plan import EndpointPlan, Run, write_plan
from serving.process.launcher import start
from serving.server import Launch

SPARE_S = 120.0
"""What an endpoint may take beyond the seconds of its blocks before the generator counts as hung."""

SEARCH_S = 900.0


class Generator:
    """A generator process for the length of a block of code. It is started at once, to be ready when the server is."""

    def __init__(self, folder: Path, cpus: Collection[int] | None) -> None:
        """`folder` gets its plan and its log."""
        self.plan, self.log, self.cpus = folder / "plan.json", folder / "generator.log", cpus
        self.progress = self.plan.with_suffix(".progress")

    def __enter__(self) -> Self:
        """Start it; it waits for a plan."""
        for path in (self.plan, self.progress):
            path.unlink(missing_ok=True)
        argv = (sys.executable, "-m", "loadtest.locustfile", str(self.plan))
        self.running = start(Launch(argv, {"PYTHONUNBUFFERED": "1"}, ROOT), log=self.log, cpus=self.cpus)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.running.stop(timeout_s=2.0)

    def run(
        self, plans: list[EndpointPlan], repository: Path, on_blocks: Callable[[int], Any] = lambda _: None
    ) -> bool:
        """Make every run of `plans`; False where an endpoint failed its pre-flight (its results say why).

        Calls `on_blocks` with the number of blocks made since the last call. Raises StageError with the end of the log
        where the generator itself fails.
        """
        awaited = [Path(run.path + ".json") for plan in plans for run in plan.runs]
        awaited += [Path(plan.search.path) for plan in plans if plan.search]
        seconds = sum(plan.warm_up_s + sum(_seconds(run) for run in plan.runs) for plan in plans)
        limit_s = 3 * seconds + sum(SEARCH_S if plan.search else SPARE_S for plan in plans)
        write_plan(self.plan, repository, plans)
        started_s, counted = time.perf_counter(), 0
        while self.running.exit_status is None:
            time.sleep(0.1)
            counted = self._count(counted, on_blocks)
            if time.perf_counter() - started_s > limit_s:
                raise StageError(f"the load generator hangs after {limit_s:.0f} s:\n{self.running.last_lines()}")
        self._count(counted, on_blocks)
        status = self.running.exit_status
        if status not in (0, 1) or not all(path.is_file() for path in awaited):
            raise StageError(f"the load generator ended with status {status}:\n{self.running.last_lines(20)}")
        return status == 0

    def _count(self, counted: int, on_blocks: Callable[[int], Any]) -> int:
        made = self.progress.stat().st_size if self.progress.is_file() else 0
        if made > counted:
            on_blocks(made - counted)
        return made


def _seconds(run: Run) -> float:
    return run.blocks * (run.scenario.seconds + run.lead_in_s)


def run_generator(
    folder: Path, plans: list[EndpointPlan], cpus: Collection[int] | None, repository: Path = MODEL_REPOSITORY
) -> bool:
    """Make every run of `plans` with a generator of their own; see `Generator.run`."""
    with Generator(folder, cpus) as generator:
        return generator.run(plans, repository)


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
                raise StageError(f"{' '.join(argv[1:])} takes longer than {limit_s:.0f} s:\n{running.last_lines()}")
        if running.exit_status != 0:
            raise StageError(f"{' '.join(argv[:3])} ended with status {running.exit_status}:\n{running.last_lines()}")
        return log.read_text(errors="replace")
    finally:
        running.stop()
