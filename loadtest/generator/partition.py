"""How a run is divided among workers, and how what they measured becomes one table again; and the order of the blocks.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from loadtest.raw_times import Table
from loadtest.scenarios import Closed, Offline, Scenario

USERS_OF_A_WORKER = 1000
"""Numbers of users between one worker's and the next."""


def part_of(scenario: Scenario, worker: int, workers: int) -> Scenario | None:
    """One worker's part: its users of a closed loop, all of an open one (whose rate is shared), None for none."""
    if isinstance(scenario, Offline):
        return scenario if worker == 0 else None
    if isinstance(scenario, Closed):
        users = scenario.users // workers + (worker < scenario.users % workers)
        return replace(scenario, users=users) if users else None
    return scenario


def joined(parts: Sequence[Table]) -> Table:
    """The rows of all workers in the order of their intended sends, each worker's times from its own zero."""
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    numbers = np.concatenate([np.full(len(part["user"]), i * USERS_OF_A_WORKER) for i, part in enumerate(parts)])
    table["user"] = (table["user"] + numbers).astype(np.uint16)
    order = np.argsort(table["intended_us"], kind="stable")
    return {name: column[order] for name, column in table.items()}


def interleaved(blocks: Sequence[Sequence[int]], seed: int) -> Iterator[tuple[int, int, int]]:
    """The order of the blocks as (endpoint, run, block), given how many blocks each run of each endpoint has.

    In every sweep each run of each endpoint has its turn: scenario by scenario, so that neighbours are compared, and
    the endpoints in random order. A run with fewer blocks than others sits out evenly.
    """
    most = max((count for runs in blocks for count in runs), default=0)
    for sweep in range(most):
        random = np.random.default_rng((seed, sweep))
        for run in range(max(len(runs) for runs in blocks)):
            for endpoint in random.permutation(len(blocks)).tolist():
                count = blocks[endpoint][run] if run < len(blocks[endpoint]) else 0
                block = sweep * count // most
                if count and (sweep + 1) * count // most > block:
                    yield endpoint, run, block
