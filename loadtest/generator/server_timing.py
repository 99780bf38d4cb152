"""Asks an endpoint under load where the time of its requests goes: its queue, the run of its model, and all the rest.

Servers of our own answer `X-Server-Timing` with a Server-Timing header, or trailing metadata over gRPC; others don't,
and get no split. It is asked in a short piece of its own after the run, so that no request that counts carries more
than its tensors. Imports gevent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import gevent
import numpy as np

from loadtest.client.requests import Answer, BrokenAnswerError
from loadtest.client.target import Connection, Target
from loadtest.generator.hub_socket import HubSocket
from serving.transport.http2.frames import literal_headers

PIECE_S = 0.25
QUESTION = {"x-server-timing": "1"}
_SERVER_TIMING = re.compile(r'queue;dur=([0-9.]+), compute;dur=([0-9.]+), batch;desc="([0-9]+)"')
FAULTS = (OSError, BrokenAnswerError, ValueError)
Split = tuple[float, float, float]
"""Queue and compute in milliseconds, and the rows of the run."""


def ask_split(target: Target, users: int, seconds: float = PIECE_S) -> dict[str, float] | None:
    """What requests of middling latency were made of; None from a server that tells nothing.

    `users` ask without a pause; one whose connection fails asks no more, as failures are counted in the runs. `rest_ms`
    is what is left of the latency: HTTP or gRPC, decoding and encoding, the way there and back, the client.
    """
    requests = [with_question(target, request) for request in target.requests]
    if not _tells(target, requests[0]):
        return None
    rows: list[tuple[float, ...]] = []
    ends_s = time.perf_counter() + seconds
    gevent.joinall([gevent.spawn(_ask, target, requests, rows, ends_s) for _ in range(users)], raise_error=True)
    if not rows:
        return None
    return {"users": users, "requests": len(rows), **middle(rows)}


def middle(rows: list[tuple[float, ...]]) -> dict[str, float]:
    """The mean of the middle fifth by latency: like the median, but its parts add up."""
    ordered = np.array(sorted(rows))
    width = max(1, len(rows) // 5)
    start = (len(rows) - width) // 2
    names = ("latency_ms", "queue_ms", "compute_ms", "batch_rows", "rest_ms")
    return dict(zip(names, ordered[start : start + width].mean(axis=0).tolist(), strict=True))


def with_question(target: Target, request: Any) -> Any:
    """A ready-made request that asks for the split as well."""
    if target.endpoint.protocol == "grpc":
        block, payloads = request
        return block + literal_headers(QUESTION), payloads
    lines = "".join(f"{name}: {value}\r\n" for name, value in QUESTION.items())
    first, rest = request.split(b"\r\n", 1)
    return first + b"\r\n" + lines.encode() + rest


def split_in(target: Target, connection: Connection, answer: Answer) -> Split | None:
    """The split in an answer, or None."""
    if target.endpoint.protocol == "grpc":
        fields: Mapping[str, str] = dict(getattr(connection, "headers", ()))
        match = _SERVER_TIMING.fullmatch(fields.get("server-timing", ""))
    else:
        match = _SERVER_TIMING.search(answer.head.decode("latin-1"))
    return (float(match[1]), float(match[2]), float(match[3])) if match else None


def _tells(target: Target, request: Any) -> bool:
    connection = target.connection(HubSocket)
    try:
        return split_in(target, connection, connection.exchange(request)) is not None
    except FAULTS:
        return False
    finally:
        connection.close()


def _ask(target: Target, requests: list[Any], rows: list[tuple[float, ...]], ends_s: float) -> None:
    connection = target.connection(HubSocket)
    try:
        connection.connect()
        while (began_s := time.perf_counter()) < ends_s:
            index = len(rows) % len(requests)
            answer = connection.exchange(requests[index])
            latency_ms = (time.perf_counter() - began_s) * 1e3
            split = split_in(target, connection, answer)
            if split is not None and not target.fault(index, answer):
                rows.append((latency_ms, *split, latency_ms - split[0] - split[1]))
    except FAULTS:
        return
    finally:
        connection.close()
