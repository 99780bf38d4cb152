"""Drives one block at one endpoint, and watches what the servers' processes take of the processor meanwhile."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from loadtest.analysis.result import BlockUse
from loadtest.client.target import Target
from loadtest.generator.resources import cpu_clock_s, tree_of
from loadtest.generator.users import ParkedUsers
from loadtest.raw_times import RIGHT, Table
from loadtest.scenarios import Scenario


@dataclass(frozen=True)
class BlockTimes:
    """What a block left: its rows, and what it used."""

    table: Table
    use: BlockUse
    client_cpu_s: float
    response_bytes: int
    explanations: tuple[str, ...]
    capped: bool


class BlockDriver:
    """Drives block after block; knows the servers of all endpoints."""

    def __init__(self, server_pids: AbstractSet[int]) -> None:
        """`server_pids`: the root process of each server that is ours to look into."""
        self._roots = sorted(server_pids)
        self.look_again()

    def look_again(self) -> None:
        """Find the servers' processes anew: some start workers as they need them."""
        self._trees = {pid: tree_of(pid) for pid in self._roots}

    def drive(
        self,
        users: ParkedUsers,
        target: Target,
        scenario: Scenario,
        seed: int,
        *,
        server_pid: int | None = None,
        lead_in_s: float = 0.0,
        number: int = 0,
    ) -> BlockTimes:
        """Run one block."""
        before = self._clocks()
        cpu_s, began_s = time.process_time(), time.perf_counter()
        load, zero_ns = users.run_block(target, scenario, seed, lead_in_s)
        elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        taken = {pid: seconds - before[pid] for pid, seconds in self._clocks().items()}
        table = load.recorder.table(zero_ns, number)
        others = [seconds for pid, seconds in taken.items() if pid != server_pid]
        use = BlockUse(
            began_s=began_s,
            elapsed_s=elapsed_s,
            right_answers=int((table["outcome"] == RIGHT).sum()),
            server_cpu_s=None if server_pid is None else taken[server_pid],
            idle_cpu_share=sum(others) / elapsed_s if others else None,
        )
        recorder = load.recorder
        return BlockTimes(table, use, cpu_s, load.response_bytes, tuple(recorder.explanations), recorder.capped)

    def _clocks(self) -> dict[int, float]:
        return {pid: cpu_clock_s(tree) for pid, tree in self._trees.items()}
