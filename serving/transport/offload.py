"""Runs what takes long in a thread, so that the event loop goes on answering everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

LONG_BYTES = 1 << 20
"""A body from here on is joined, inflated and parsed in a thread: less takes about a millisecond."""
INFLATE_BYTES = 1 << 12
"""The same of a compressed one: deflate expands at most 1,032 times, so that less gives at most 4 MiB."""
THREADS = 4

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def run_long(
    function: Callable[Arguments, Value], *arguments: Arguments.args, **options: Arguments.kwargs
) -> asyncio.Future[Value]:
    """Call `function` in a thread; what it returns or raises comes with the future.

    Cancelling the future abandons the result: the thread runs on to its end.
    """
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(_pool(), lambda: function(*arguments, **options))


def join(parts: list[bytes]) -> bytes:
    """Join the pieces of a large body, and free them: that takes as long again."""
    whole = b"".join(parts)
    parts.clear()
    return whole


@cache
def _pool() -> ThreadPoolExecutor:
    """One for all servers of the process, made when first needed: workers are forked before."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="long")
