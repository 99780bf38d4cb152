"""Several worker processes of one server: forked, watched, restarted, ended together."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

RESTART_AFTER_S = 0.5
"""A worker that dies sooner than this after its start is restarted no faster."""
STOP_TIMEOUT_S = 20.0


def run_workers(count: int, work: Callable[[int], int]) -> int:
    """Run `work(0)` … `work(count - 1)`, each in a process; one that dies is started again until SIGTERM or SIGINT.

    The caller must not have started threads nor imported what does. Returns the exit status.
    """
    children: dict[int, int] = {}
    started_s: dict[int, float] = {}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            _signal(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def start(worker: int) -> None:
        time.sleep(max(0.0, started_s.get(worker, 0.0) + RESTART_AFTER_S - time.monotonic()))
        if stopping:
            return
        started_s[worker] = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _exit_with(worker, work)
        children[pid] = worker

    for worker in range(count):
        start(worker)
    worst = 0
    while children:
        if stopping:
            break
        pid, status = _wait()
        worker = children.pop(pid, -1)
        code = os.waitstatus_to_exitcode(status)
        if worker < 0 or stopping:
            worst = max(worst, _graded(status))
            continue
        if code == 2:  # a mistake of configuration: starting again can't help
            stop()
            worst = 2
            break
        message = f"worker {worker} (process {pid}) ended with status {code}: starting it again"
        print(message, file=sys.stderr, flush=True)
        start(worker)
    return max(worst, _end(children))


def _wait() -> tuple[int, int]:
    try:
        return os.waitpid(-1, 0)
    except ChildProcessError:
        return -1, 0


def _exit_with(worker: int, work: Callable[[int], int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = 1
    try:
        status = work(worker)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end(children: dict[int, int]) -> int:
    """Wait for the workers to finish their answers; kill what takes too long."""
    ends_s = time.monotonic() + STOP_TIMEOUT_S
    worst = 0
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            if children.pop(pid, None) is not None:
                worst = max(worst, _graded(status))
        elif time.monotonic() > ends_s:
            for late in children:
                _signal(late, signal.SIGKILL)
            ends_s = float("inf")
        else:
            time.sleep(0.02)
    return worst


def _graded(status: int) -> int:
    """The exit status of a worker that was asked to end; the request may have found it before it could listen."""
    code = os.waitstatus_to_exitcode(status)
    return 0 if code == -signal.SIGTERM else abs(code)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
