"""Time the modes of a framework interleaved, so that whatever else the machine does slows all of them alike.

Each mode, and the tutorial's loop, is a process of its own (`training.measure steps`) that sleeps until it is asked for
its next piece: none shares heap or threads with another.
"""

from __future__ import annotations

import asyncio
import json
import random
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from typing import Any

from contract import ROOT, StageError

Row = dict[str, Any]


async def run_interleaved(
    framework: str, modes: Sequence[str], rounds: int, steps: int, seed: int, prefix: str
) -> AsyncIterator[Row]:
    """Yield a row for each piece as it ends, then one a mode with its peak memory, or why it is missing."""
    shuffle = random.Random(seed)  # noqa: S311
    started: dict[str, tuple[Process, Row]] = {}
    processes: list[Process] = []
    try:
        for mode in modes:  # one after another: none warms up while another does
            process = await start(framework, mode, steps, prefix)
            processes.append(process)
            first = await answer(process, framework, mode)
            if "missing" in first:
                yield first
            else:
                started[mode] = (process, first)
        for number in range(1, rounds + 1):
            for mode in shuffle.sample(list(started), len(started)):
                process, first = started[mode]
                process.stdin.write(f"{number}\n".encode())  # type: ignore[union-attr]
                yield first | await answer(process, framework, mode)
        for mode, (process, _) in started.items():
            process.stdin.close()  # type: ignore[union-attr]
            yield await answer(process, framework, mode)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def start(framework: str, mode: str, steps: int, prefix: str) -> Process:
    """Start the process of a mode."""
    command = [*shlex.split(prefix), sys.executable, "-m", "training.measure", "steps", framework, "--mode", mode]
    return await asyncio.create_subprocess_exec(
        *command, "--steps", str(steps), cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def answer(process: Process, framework: str, mode: str) -> Row:
    """The next line of a process; raises StageError with its last error line where there is none."""
    while line := await process.stdout.readline():  # type: ignore[union-attr]
        if line.startswith(b"{"):
            row: Row = {"framework": framework, "mode": mode} | json.loads(line)
            return row
    lines = (await process.stderr.read()).decode(errors="replace").strip().splitlines()  # type: ignore[union-attr]
    raise StageError(f"{framework} {mode} failed: {lines[-1] if lines else 'it printed nothing'}")
