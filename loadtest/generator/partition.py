"""How a run is divided among workers, and how what they measured becomes one table again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from loadtest.scenarios import Closed, Offline, Scenario


def part_of(scenario: Scenario, worker: int, workers: int) -> Scenario | None:
    """One worker's part: its users of a closed loop, all of an open one (whose rate is shared), None for none."""
    if isinstance(scenario, Offline):
        return scenario if worker == 0 else None
    if isinstance(scenario, Closed):
        users = scenario.users // workers + (worker < scenario.users % workers)
        return replace(scenario, users=users) if users else None
    return scenario


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The rows of all workers in the order of their intended sends, each worker's times from its own start."""
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(table["intended_us"], kind="stable")
    return {name: column[order] for name, column in table.items()}
