"""Closed-loop clients that keep asking while something goes wrong with the server, and count what becomes of each
request. Threads over plain sockets; every answer is checked.
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


class FaultLoad:
    """Clients of one endpoint, for the length of a block."""

    def __init__(self, target: Target, clients: int) -> None:
        self._target = target
        self._stop = threading.Event()
        self._tallies = [Tally() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._ask, args=(tally,)) for tally in self._tallies]
        self.explanations: list[str] = []

    def __enter__(self) -> Self:
        """Start the clients."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let every client have its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def total(self) -> dict[str, Any]:
        """The sum over the clients; of the latencies the worst."""
        summed = {field.name: sum(getattr(t, field.name) for t in self._tallies) for field in fields(Tally)}
        return {**summed, "worst_ms": round(max(t.worst_ms for t in self._tallies), 1)}

    def _ask(self, tally: Tally) -> None:
        target = self._target
        connection: Any = target.connection(timeout_s=TIMEOUT_S)
        index = 0
        while not self._stop.is_set():
            index = (index + 1) % len(target.requests)
            began_s = time.perf_counter()
            try:
                answer = connection.exchange(target.requests[index])
            except ConnectionRefusedError:  # the way to a server that has gone: nothing was sent
                tally.left = 1
                return
            except (OSError, BrokenAnswerError) as error:
                self._fail(tally, f"{type(error).__name__}: {error}")
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
                self._fail(tally, "503 without Retry-After")
            time.sleep(REFUSED_PAUSE_S)
            return
        try:
            why = self._target.fault(index, answer)
        except ValueError as error:
            self._fail(tally, str(error))
            return
        tally.wrong += bool(why)
        tally.right += not why

    def _fail(self, tally: Tally, why: str) -> None:
        tally.failed += 1
        if len(self.explanations) < 5:
            self.explanations.append(why)


def _is_sent_away(connection: Any) -> bool:
    """Whether the answer came with `Connection: close`, or a GOAWAY before it."""
    if isinstance(connection, GrpcConnection):
        return connection.going_away
    return connection.sock is None
