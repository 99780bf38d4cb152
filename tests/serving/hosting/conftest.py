"""A loop whose clock counts its rounds, and jumps to the next timer when it has nothing to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

ROUND_S = 1e-5


class _NoWait(selectors.DefaultSelector):
    """Asks for events without waiting, and tells the loop how long it would have waited."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(60.0)  # a thread has to wake the loop
        self.waited_s += timeout or ROUND_S
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs timers in their order, at once."""

    def __init__(self) -> None:
        self.selector = _NoWait()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.waited_s

    def pass_time(self, seconds: float) -> None:
        """What the code under test is supposed to take."""
        self.selector.waited_s += seconds


def run_in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


@pytest.fixture
def virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in virtual time."""
    return run_in_virtual_time
