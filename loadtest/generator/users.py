"""The Locust user: it puts load on one endpoint, alone or as one of the users of a run. Imports gevent and Locust."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gevent.event import Event
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest.generator.hub_socket import HubSocket
from loadtest.generator.loops import Load, OpenLoop, Report, get_ready, run_closed
from loadtest.scenarios import Burst, Open, Scenario, schedule_s
from serving.server import Endpoint


@dataclass
class Session:
    """What the users of one endpoint share in this process: the load, its scenario, and the starting signal."""

    load: Load
    scenario: Scenario
    seed: int = 0
    worker: int = 0
    workers: int = 1
    shares: int = 1
    """Users in all processes together: an open loop's rate is shared among them."""
    start_ns: int = 0
    """0: every user starts as it comes."""
    go: Event = field(default_factory=Event)
    connected: int = 0
    numbers: itertools.count[int] = field(default_factory=itertools.count)


class EndpointUser(User):
    """One user of one endpoint; the class made from it for an endpoint has a `session` factory."""

    abstract = True
    endpoint: ClassVar[Endpoint]
    session: ClassVar[Callable[[Environment], Session]]

    def on_start(self) -> None:
        """Connect before the clock starts."""
        self.shared = type(self).session(self.environment)
        shared, scenario = self.shared, self.shared.scenario
        self.number = next(shared.numbers)
        self.connection = shared.load.target.connection(HubSocket)
        self.open_loop: OpenLoop | None = None
        if isinstance(scenario, (Open, Burst)):
            share = self.number * shared.workers + shared.worker
            schedule = schedule_s(scenario, shared.seed, share, shared.shares)
            self.open_loop = OpenLoop(shared.load, schedule, scenario.in_flight_cap)
        else:
            get_ready(self.connection)
        shared.connected += 1
        shared.go.wait()

    def on_stop(self) -> None:
        """Close the connections."""
        self.connection.close()
        if self.open_loop is not None:
            self.open_loop.close()

    @task
    def put_load(self) -> None:
        """Do this user's part of the scenario, then end."""
        shared, scenario = self.shared, self.shared.scenario
        start_ns = shared.start_ns or time.perf_counter_ns()
        if self.open_loop is not None:
            self.open_loop.run(start_ns, self._goes_on)
        else:
            run_closed(shared.load, self.connection, start_ns + int(scenario.seconds * 1e9), self._goes_on)
        raise StopUser

    def _goes_on(self) -> bool:
        return bool(self._state == "running")


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
