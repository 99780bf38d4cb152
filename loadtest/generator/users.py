"""The Locust user: it puts load on one endpoint, for as long as Locust says or block by block. Imports gevent and
Locust.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import gevent
from gevent.event import Event
from gevent.queue import Queue
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest.client.target import Connection, Target
from loadtest.generator.hub_socket import HubSocket
from loadtest.generator.loops import Load, OpenLoop, Report, Window, get_ready, run_closed
from loadtest.scenarios import Burst, Closed, Offline, Open, Scenario, arrivals_s, schedule_s
from serving.server import Endpoint

CONNECT_S = 30.0
START_DELAY_S = 0.002
"""From a block's order to its first intended send, so that its timer is set by then."""


class Session(Protocol):
    """What the users of one endpoint share in this process."""

    numbers: itertools.count[int]

    @property
    def target(self) -> Target:
        """What they send."""

    def serve(self, user: EndpointUser) -> None:
        """Do one user's part."""


class EndpointUser(User):
    """One user of one endpoint; the class made from it for an endpoint has a `session` factory."""

    abstract = True
    endpoint: ClassVar[Endpoint]
    session: ClassVar[Callable[[Environment], Session]]

    def on_start(self) -> None:
        """Connect before the clock starts."""
        self.shared = type(self).session(self.environment)
        self.number = next(self.shared.numbers)
        self.connection = self.shared.target.connection(HubSocket)
        get_ready(self.connection)

    def on_stop(self) -> None:
        """Close the connection."""
        self.connection.close()

    @task
    def put_load(self) -> None:
        """Do this user's part, then end."""
        self.shared.serve(self)
        raise StopUser

    def should_continue(self) -> bool:
        """Whether Locust has not stopped the user."""
        return bool(self._state == "running")


@dataclass
class FreeSession:
    """Users that put load on without an end: plain `locust -f`."""

    load: Load
    scenario: Scenario
    seed: int = 0
    worker: int = 0
    workers: int = 1
    shares: int = 1
    """Users in all processes together: an open loop's rate is shared among them."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def target(self) -> Target:
        """What they send."""
        return self.load.target

    def serve(self, user: EndpointUser) -> None:
        """Put load on until Locust stops the user."""
        now_ns = time.perf_counter_ns()
        if isinstance(self.scenario, Closed | Offline):
            run_closed(self.load, user.connection, user.number, Window(now_ns, 2**63 - 1), user.should_continue)
            return
        share = user.number * self.workers + self.worker
        schedule = schedule_s(self.scenario, self.seed, share, self.shares)
        connections = [user.connection]
        try:
            OpenLoop(self.load, schedule, self.scenario.in_flight_cap, connections).run(now_ns, user.should_continue)
        finally:
            for connection in connections:
                connection.close()


@dataclass(frozen=True)
class Order:
    """One block for the users: the load that they share, its scenario and window."""

    load: Load
    scenario: Scenario
    window: Window
    schedule_s: tuple[float, ...] = ()
    """Of an open loop, from the window's zero."""


class ParkedUsers:
    """The users of one endpoint in a plan: connected all the time, parked between the blocks."""

    def __init__(self, target: Target, users: int, worker: int = 0, workers: int = 1) -> None:
        """Start `users` users with a Locust environment of their own."""
        self.target, self.worker, self.workers = target, worker, workers
        self.numbers = itertools.count()
        self.connections: list[Connection] = []
        self._orders: list[Queue[Order]] = [Queue() for _ in range(users)]
        self._busy, self._done, self._next_index = 0, Event(), itertools.count(worker * 17)
        self.environment = Environment()
        self.report = locust_report(self.environment, target.endpoint)
        runner = self.environment.create_local_runner()
        self.environment.user_classes = [user_class(target.endpoint, lambda _environment: self)]
        runner.start(users, spawn_rate=users)
        with gevent.Timeout(CONNECT_S):
            while len(self.connections) < users:
                gevent.sleep(0.001)

    def serve(self, user: EndpointUser) -> None:
        """Carry out orders until Locust stops the user."""
        self.connections.append(user.connection)
        while user.should_continue():
            self._carry_out(user, self._orders[user.number].get())

    def run_block(self, target: Target, scenario: Scenario, seed: int, lead_in_s: float = 0.0) -> tuple[Load, int]:
        """Run one block: the load with what was recorded, and its zero."""
        load = Load(target, report=self.report, next_index=next(self._next_index) * 31 % len(target.requests))
        schedule = tuple(self._schedule(scenario, seed, lead_in_s))
        zero_ns = time.perf_counter_ns() + int((lead_in_s + START_DELAY_S * bool(schedule)) * 1e9)
        users = 1 if schedule or not isinstance(scenario, Closed | Offline) else scenario.users
        end_ns = zero_ns + int(scenario.seconds * 1e9)
        order = Order(load, scenario, Window(zero_ns, end_ns, users), schedule)
        self._busy = users
        self._done.clear()
        for orders in self._orders[:users]:
            orders.put(order)
        self._done.wait()
        return load, zero_ns

    def close(self) -> None:
        """Stop the users and close every connection."""
        runner = self.environment.runner
        if runner is not None:
            runner.quit()
        for connection in self.connections:
            connection.close()

    def _carry_out(self, user: EndpointUser, order: Order) -> None:
        try:
            if isinstance(order.scenario, Closed | Offline):
                run_closed(order.load, user.connection, user.number, order.window, user.should_continue)
            else:
                loop = OpenLoop(order.load, order.schedule_s, order.scenario.in_flight_cap, self.connections)
                loop.run(order.window.zero_ns, user.should_continue)
        finally:
            self._busy -= 1
            if self._busy == 0:
                self._done.set()

    def _schedule(self, scenario: Scenario, seed: int, lead_in_s: float) -> Iterator[float]:
        if isinstance(scenario, Open | Burst):
            whole = lengthened(scenario, lead_in_s)
            yield from (arrivals_s(whole, seed, self.worker, self.workers) - lead_in_s).tolist()


def lengthened(scenario: Open | Burst, lead_in_s: float) -> Open | Burst:
    """The scenario with what leads in to it; a burst begins with its load, so nothing leads in."""
    if isinstance(scenario, Burst) or not lead_in_s:
        return scenario
    return replace(scenario, seconds=scenario.seconds + lead_in_s)


def locust_report(environment: Environment, endpoint: Endpoint) -> Report:
    """Fires Locust's request event, so that its page and its workers see every request."""
    fire: Any = environment.events.request.fire
    protocol, name = endpoint.protocol, endpoint.name

    def report(latency_ms: float, size: int, why: str) -> None:
        fire(
            request_type=protocol,
            name=name,
            response_time=latency_ms,
            response_length=size,
            exception=RuntimeError(why) if why else None,
            context={},
        )

    return report


def user_class(endpoint: Endpoint, session: Callable[[Environment], Session]) -> type[EndpointUser]:
    """A Locust user class for `endpoint`, named after it."""
    name = "".join(c if c.isalnum() else "_" for c in endpoint.name)
    fields = {"abstract": False, "endpoint": endpoint, "session": staticmethod(session), "host": endpoint.address}
    return type(name, (EndpointUser,), fields)
