"""Our servers beside those of another checkout, in one run: whether a change made them faster or slower."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from contract import MODEL_REPOSITORY, StageError
from loadtest.bench.system import System
from loadtest.table import of_lines, to_markdown
from serving.server import Launch

OURS = ("ours", "tflite", "tfserving", "tfserving-batching")
"""The systems that are compared unless others are named; only servers of this project can be."""
REPOSITORIES = ("artifacts/mnist/model_repository", "artifacts/model_repository")
"""Where a checkout has its model repository, the newest layout first."""


def elsewhere(system: System, checkout: Path) -> System:
    """The same server as the code and the artifacts of another checkout have it.

    Raises StageError where the folder has no such code or no artifact of that name.
    """
    checkout = checkout.resolve()
    repository = next((checkout / path for path in REPOSITORIES if (checkout / path / system.artifact).exists()), None)
    if repository is None or not (checkout / "serving").is_dir():
        raise StageError(f"{checkout} is no checkout with {system.artifact}: run `make export` there")

    def launch(ports: Mapping[str, int], folder: Path) -> Launch:
        here = system.launch(ports, folder)
        moved = {str(path): str(repository) for path in (MODEL_REPOSITORY, MODEL_REPOSITORY.resolve())}
        argv = tuple(moved.get(word, word) for word in here.argv)
        if "serving.servers" not in " ".join(argv):
            raise StageError(f"{system.name} is no server of this project: choose from {', '.join(OURS)}")
        return replace(here, argv=argv, cwd=checkout)

    return replace(system, name=f"{system.name} in {checkout.name}", launch=launch)


def ratios(rows: Iterable[Mapping[str, Any]], pairs: Iterable[tuple[str, str]]) -> str:
    """A line for each point: answers per second here and there, and their ratio with the range of the rounds."""
    by = {tuple(row[key] for key in ("name", "payload", "traffic", "generator", "connections")): row for row in rows}
    lines = []
    for here, there in pairs:
        for (name, *point), row in by.items():
            other = by.get((there, *point))
            if name != here or other is None:
                continue
            rounds = zip(row["rounds"], other["rounds"], strict=True)
            values = [mine["requests_per_s"] / theirs["requests_per_s"] for mine, theirs in rounds]
            span = f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            cells = [f"{side['requests_per_s']:,.0f}" for side in (row, other)]
            lines.append([here, *map(str, point), *cells, span])
    head = ["Server", "Payload", "Requests", "Load", "Connections", "Here, req/s", "There, req/s", "Here / there"]
    return to_markdown(of_lines(head, lines, words=4))
