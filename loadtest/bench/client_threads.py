"""Closed-loop clients in threads, over plain sockets, that count what becomes of each request; every answer is checked.

For benchmarks that ask whether answers are right or lost while something happens; how fast they come is measured by
the load generator.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self

from loadtest.client.grpc import GrpcConnection
from loadtest.client.requests import Answer, BrokenAnswerError
from loadtest.client.target import Target

TIMEOUT_S = 20.0
REFUSED_PAUSE_S = 0.001
HTTP_UNAVAILABLE, GRPC_UNAVAILABLE = 503, 14
EXPLAINED = 5
"""Failures and wrong answers whose text is kept."""


@dataclass
class Tally:
    """What one client got."""

    right: int = 0
    wrong: int = 0
    refused: int = 0
    """Told that the server is full: 503 with Retry-After, UNAVAILABLE."""
    failed: int = 0
    """Taken and lost, or any other error."""
    left: int = 0
    """1 for a client that a server about to end sent away; nothing of it was lost."""
    worst_ms: float = 0.0


class ClientThreads:
    """The clients of one endpoint, for the length of a block; at any time they send different samples."""

    def __init__(self, target: Target, clients: int) -> None:
        self._target = target
        self._stop = threading.Event()
        self._tallies = [Tally() for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._loop, args=(tally, number)) for number, tally in enumerate(self._tallies)
        ]
        self.explanations: list[str] = []

    def __enter__(self) -> Self:
        """Start the clients."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Wait for every client's last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def total(self) -> dict[str, Any]:
        """The sum over the clients; of the latencies the worst."""
        summed = {field.name: sum(getattr(t, field.name) for t in self._tallies) for field in fields(Tally)}
        return {**summed, "worst_ms": round(max(t.worst_ms for t in self._tallies), 1)}

    def _loop(self, tally: Tally, number: int) -> None:
        target = self._target
        connection: Any = target.connection(timeout_s=TIMEOUT_S)
        index = number * len(target.requests) // len(self._tallies)
        while not self._stop.is_set():
            index = (index + 1) % len(target.requests)
            began_s = time.perf_counter()
            try:
                answer = connection.exchange(target.requests[index])
            except ConnectionRefusedError:  # the way to a server that has gone: nothing was sent
                tally.left = 1
                return
            except (OSError, BrokenAnswerError) as error:
                tally.failed += 1
                self._explain(f"{type(error).__name__}: {error}")
                continue
            tally.worst_ms = max(tally.worst_ms, (time.perf_counter() - began_s) * 1e3)
            self._judge(tally, index, answer)
            if _is_sent_away(connection):
                tally.left = 1
                break
        connection.close()

    def _judge(self, tally: Tally, index: int, answer: Answer) -> None:
        grpc = self._target.endpoint.protocol == "grpc"
        if answer.status == (GRPC_UNAVAILABLE if grpc else HTTP_UNAVAILABLE):
            if grpc or b"\r\nretry-after:" in answer.head.lower():
                tally.refused += 1
            else:
                tally.failed += 1
                self._explain("503 without Retry-After")
            time.sleep(REFUSED_PAUSE_S)
            return
        try:
            fault = self._target.fault(index, answer)
        except ValueError as error:
            tally.failed += 1
            self._explain(str(error))
            return
        tally.wrong += bool(fault)
        tally.right += not fault
        if fault:
            self._explain(fault)

    def _explain(self, reason: str) -> None:
        if len(self.explanations) < EXPLAINED:
            self.explanations.append(reason)


def _is_sent_away(connection: Any) -> bool:
    """Whether the answer came with `Connection: close`, or a GOAWAY before it."""
    if isinstance(connection, GrpcConnection):
        return connection.going_away
    return connection.sock is None
