"""The two loops that put load on a target: closed (a user waits for its answer) and open (a schedule waits for nobody).

Runs on gevent, inside a Locust user; keeps every request in a `Recorder` and hands it to `report`, which fires Locust's
event.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import gevent
from gevent.pool import Group

from loadtest.client.requests import BrokenAnswerError
from loadtest.client.target import Connection, Target
from loadtest.generator.hub_socket import HubSocket
from loadtest.generator.recorder import Recorder
from loadtest.generator.timer import Timer
from loadtest.raw_times import FAILED, RIGHT, WRONG

READY_CONNECTIONS = 32
"""Connections that an open loop opens before its clock starts; more are opened as they are needed, on the clock."""
DRAIN_S = 10.0
"""Time that the last answers of an open loop have after its last send; what is missing then has failed."""
RETRY_S = 0.05
"""A closed loop's pause after a failure, so that a dead server does not become a busy loop."""

Report = Callable[[float, int, str], None]
"""Gets latency in ms, size of the answer in bytes, and why it failed or was wrong ("" if right)."""


@dataclass
class Window:
    """What of a block counts: `zero_ns` to `end_ns`; a closed loop goes on until all windows are closed."""

    zero_ns: int
    end_ns: int
    users: int = 1
    closed: int = 0
    """Users who had an answer after the end that was not their first one after zero."""


@dataclass
class Load:
    """What the users of one block share in this process."""

    target: Target
    recorder: Recorder = field(default_factory=Recorder)
    report: Report = lambda *_: None
    response_bytes: int = 0
    next_index: int = 0
    in_flight: int = 0

    def request(self, connection: Connection, intended_ns: int | None = None, user: int = 0) -> bool:
        """Send the next sample, check the answer, keep the times; `intended_ns` is the moment of the
        send unless given.
        """
        target, recorder = self.target, self.recorder
        index = self.next_index = (self.next_index + 1) % len(target.requests)
        request = target.requests[index]
        sent_ns = time.perf_counter_ns()
        try:
            answer = connection.exchange(request)
            done_ns = time.perf_counter_ns()
            why = target.fault(index, answer)
        except (OSError, BrokenAnswerError, ValueError) as error:
            done_ns = time.perf_counter_ns()
            outcome, size, why = FAILED, 0, f"{type(error).__name__}: {error}" if str(error) else repr(error)
        else:
            outcome, size = (WRONG if why else RIGHT), len(answer.body)
            self.response_bytes += size
        if intended_ns is None:
            intended_ns = sent_ns
        recorder.add(intended_ns, sent_ns, done_ns, outcome, why, user)
        self.report((done_ns - intended_ns) / 1e6, size, why)
        return outcome != FAILED


def get_ready(connection: Connection) -> None:
    """Connect before the clock starts; where that is refused, the requests that need it fail and are counted."""
    try:
        connection.connect()
    except (OSError, BrokenAnswerError):
        connection.close()


def run_closed(
    load: Load, connection: Connection, user: int, window: Window, should_continue: Callable[[], bool]
) -> None:
    """Send one request after the other until every user's window has closed; the last answer is waited for."""
    answers, closed = 0, False
    while should_continue() and window.closed < window.users:
        if not load.request(connection, user=user):
            gevent.sleep(RETRY_S)
        done_ns = load.recorder.done_ns[-1]
        answers += done_ns >= window.zero_ns
        if not closed and done_ns >= window.end_ns and answers > 1:
            closed = True
            window.closed += 1


class OpenLoop:
    """An open loop that is ready to begin: connected, its timer made, the first piece of its schedule drawn."""

    def __init__(self, load: Load, schedule_s: Iterable[float], cap: int, connections: list[Connection]) -> None:
        """Sends are meant at the seconds of `schedule_s`; with `cap` requests in flight the run ends and is void.

        `connections` are those that it may use; it adds to them what it needs more, and closes none.
        """
        self._load, self._cap, self._connections = load, cap, connections
        while len(connections) < min(cap, READY_CONNECTIONS):
            connections.append(load.target.connection(HubSocket))
            get_ready(connections[-1])
        self._free = list(connections)
        self._timer, self._out = Timer(), Group()
        moments = iter(schedule_s)
        self._moments = itertools.chain(list(itertools.islice(moments, 1)), moments)

    def run(self, zero_ns: int, should_continue: Callable[[], bool]) -> None:
        """Send a request at each moment of the schedule, then wait for the answers that are still out.

        A send is late only by what this process lacks in time; that is the schedule lag.
        """
        load, out = self._load, self._out
        try:
            for at_s in self._moments:
                intended_ns = zero_ns + int(at_s * 1e9)
                self._timer.sleep_until(intended_ns)
                if not should_continue():
                    break
                if load.in_flight >= self._cap:
                    load.recorder.capped = True
                    break
                load.in_flight += 1
                out.spawn(self._send, intended_ns)
            out.join(timeout=DRAIN_S)
            for late in list(out):
                now_ns = time.perf_counter_ns()
                why = f"no answer within {DRAIN_S:g} s of the last send"
                load.recorder.add(late.args[0], now_ns, now_ns, FAILED, why)
        finally:
            self.close()

    def _send(self, intended_ns: int) -> None:
        if not self._free:
            self._connections.append(self._load.target.connection(HubSocket))
            self._free.append(self._connections[-1])
        connection = self._free.pop()
        try:
            self._load.request(connection, intended_ns)
        finally:
            self._load.in_flight -= 1
            self._free.append(connection)

    def close(self) -> None:
        """Give the timer back and end what is still out; twice does no harm."""
        self._out.kill()
        self._timer.close()
