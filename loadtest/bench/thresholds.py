"""The thresholds of the servers' benchmark: ratios of rows of one run, round by round, each with what it must reach.

Pure functions over the rows; nothing is measured here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.bench.measure import CHANGING, CONSTANT, Point
from loadtest.bench.systems import IDLE_CONNECTIONS, VERSIONS

GENUINE_REQUESTS_PER_S = {"default": 3296, "best": 6390}
"""TensorFlow Serving 2.20.0, JSON REST, 32 connections, one core for it and one for wrk, this network: with its default
flags, and with batching (32, 0 µs) and 64 REST threads. In-process TensorFlow took as long there as:"""
GENUINE_BATCH_32_US = 1054.0
"""In-process TensorFlow, a batch of 32, on the same machine and core."""
OURS = (
    ("ours", ("json", "binary", "grpc")),
    ("tflite", ("json", "binary", "grpc")),
    ("tfserving", ("json", "grpc")),
    ("tfserving-batching", ("json", "grpc")),
)
PEERS = ("litserve", "mlserver", "bentoml")
Key = tuple[str, str]
"""System and payload."""
RATE, P50, P99, CPU, RSS = "requests_per_s", "p50_ms", "p99_ms", "server_cpu_us_per_request", "rss_bytes"


class Rounds:
    """The rows of a result by what they are about, figures by round; raises LookupError for what was not measured."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], in_process: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rows = {
            Point(row["name"], row["payload"], row["connections"], row["generator"], row["traffic"]): row
            for row in rows
        }
        self._in_process = {(r["artifact"], r["batch_size"]): r for r in in_process}

    def of(
        self,
        figure: str,
        name: str,
        payload: str,
        connections: int = 32,
        generator: str = "own",
        traffic: str = CONSTANT,
    ) -> list[float]:
        """One figure of one row, by round."""
        rounds = self._rows[Point(name, payload, connections, generator, traffic)]["rounds"]
        return [figures[figure] for figures in rounds]

    def changing_keys(self) -> list[Key]:
        """Every system and payload that was measured with changing requests."""
        return list(dict.fromkeys((p.name, p.payload) for p in self._rows if p.traffic == CHANGING))

    def batch_us(self, artifact: str, size: int) -> list[float]:
        """Microseconds of one run of the runtime alone, by round."""
        return [ms * 1e3 for ms in self._in_process[artifact, size]["rounds_ms"]]

    def wrong_answers(self) -> float:
        """Wrong answers of all rows whose answers were looked into; none measured is an error too."""
        counts = [row["wrong_answers"] for row in self._rows.values() if row["wrong_answers"] is not None]
        if not counts:
            raise LookupError
        return float(sum(counts))


@dataclass(frozen=True)
class Threshold:
    """One demand: `values` gives a value for each round; their median is held against `bound`."""

    name: str
    values: Callable[[Rounds], list[float]]
    bound: float | None = None
    """None: stated without a demand."""
    at_most: bool = False
    unit: str = ""


def ratio(
    figure: str, above: Key, below: Key, connections: int = 32, generator: str = "own"
) -> Callable[[Rounds], list[float]]:
    """A figure of (system, payload) divided by another's in the same round."""

    def values(rounds: Rounds) -> list[float]:
        tops = rounds.of(figure, *above, connections, generator)
        bottoms = rounds.of(figure, *below, connections, generator)
        return [top / bottom for top, bottom in zip(tops, bottoms, strict=True)]

    return values


def thresholds(generators: Iterable[str] = ("own", "wrk")) -> list[Threshold]:
    """All of them, in the order of the table."""
    rows = [Threshold("wrong answers, all rows", lambda r: [r.wrong_answers()], 0, at_most=True)]
    for generator in generators:
        by = f" ({generator})"
        rows += [
            _rate("ours, binary / ceiling" + by, ("ours", "binary"), ("ceiling", "binary"), 0.8, generator),
            _rate("ours, JSON / ceiling" + by, ("ours", "json"), ("ceiling", "json"), None, generator),
            _rate("ours, JSON / binary" + by, ("ours", "json"), ("ours", "binary"), 0.5, generator),
            _rate("2 workers / 1" + by, ("ours-2-workers", "binary"), ("ours-1-worker", "binary"), 1.7, generator),
        ]
        for name, setting in (("tfserving", "default"), ("tfserving-batching", "best")):
            label = f"{name}, JSON / genuine server's {setting}, scaled by in-process" + by
            rows.append(Threshold(label, _against_genuine(name, setting, generator), 1.0))
    rows += [
        Threshold("ours, JSON / best of LitServe, MLServer, BentoML", _best_peer, 5.0),
        _rate("ours, gRPC / bare grpc.aio echo", ("ours", "grpc"), ("grpc-echo", "grpc"), 0.6),
        _rate("ours, gRPC / bare grpclib echo", ("ours", "grpc"), ("grpclib-echo", "grpc"), None),
        _rate("ours, gRPC / grpclib with the model", ("ours", "grpc"), ("grpclib", "grpc"), None),
        *(
            Threshold(
                f"one connection, {p}: p50 / ceiling's", ratio(P50, ("ours", p), ("ceiling", p), 1), 1.3, at_most=True
            )
            for p in ("binary", "json")
        ),
        *(_steady(name, payload) for name, payloads in OURS for payload in payloads),
    ]
    return rows + _costs()


def _rate(name: str, above: Key, below: Key, bound: float | None, generator: str = "own") -> Threshold:
    return Threshold(f"{name}", ratio(RATE, above, below, generator=generator), bound)


def _steady(name: str, payload: str) -> Threshold:
    def values(rounds: Rounds) -> list[float]:
        pairs = zip(rounds.of(P99, name, payload), rounds.of(P50, name, payload), strict=True)
        return [p99 / p50 for p99, p50 in pairs]

    return Threshold(f"{name}, {payload}: p99 / p50", values, 2.5, at_most=True)


def _best_peer(rounds: Rounds) -> list[float]:
    peers = zip(*(rounds.of(RATE, name, "json") for name in PEERS), strict=True)
    return [ours / max(theirs) for ours, theirs in zip(rounds.of(RATE, "ours", "json"), peers, strict=True)]


def _against_genuine(name: str, setting: str, generator: str) -> Callable[[Rounds], list[float]]:
    def values(rounds: Rounds) -> list[float]:
        rates = rounds.of(RATE, name, "json", generator=generator)
        in_process_us = rounds.batch_us("tensorflow-savedmodel", 32)
        genuine = [GENUINE_REQUESTS_PER_S[setting] * GENUINE_BATCH_32_US / us for us in in_process_us]
        return [ours / theirs for ours, theirs in zip(rates, genuine, strict=True)]

    return values


def _costs() -> list[Threshold]:
    """What a worker, a version and an idle connection cost; processor time shows it apart from the load's share."""
    single = ("ours-1-worker", "binary")
    versions, idle = (f"ours-{VERSIONS}-versions", "binary"), (f"ours-{IDLE_CONNECTIONS}-idle", "binary")

    def more_bytes(of: Key, by: int) -> Callable[[Rounds], list[float]]:
        return lambda rounds: [
            (many - few) / by / 1024 for many, few in zip(rounds.of(RSS, *of), rounds.of(RSS, *single), strict=True)
        ]

    return [
        Threshold("2 workers / 1: processor time per request", ratio(CPU, ("ours-2-workers", "binary"), single)),
        Threshold(f"{VERSIONS} versions / 1: requests/s of one", ratio(RATE, versions, single), 0.95),
        Threshold("a version more: resident memory", more_bytes(versions, VERSIONS - 1), unit="KiB"),
        Threshold(f"{IDLE_CONNECTIONS:,} idle connections / none: requests/s", ratio(RATE, idle, single), 0.95),
        Threshold("an idle connection: resident memory", more_bytes(idle, IDLE_CONNECTIONS), unit="KiB"),
    ]


def judge(rows: Iterable[Mapping[str, Any]], in_process: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every threshold with what was measured: the median over the rounds, their range, and whether it is met.

    `median` and `met` are None where a row that a threshold needs was not measured. Then, without a bound, what every
    system gives under changing requests of what it gives under constant ones.
    """
    rows = list(rows)
    rounds = Rounds(rows, in_process)
    generators = ("own", "wrk") if any(row["generator"] == "wrk" for row in rows) else ("own",)
    demands = thresholds(generators) + [_changing(*key) for key in rounds.changing_keys()]
    return [_judged(threshold, rounds) for threshold in demands]


def _changing(name: str, payload: str) -> Threshold:
    def values(rounds: Rounds) -> list[float]:
        changing, constant = (rounds.of(RATE, name, payload, traffic=traffic) for traffic in (CHANGING, CONSTANT))
        return [above / below for above, below in zip(changing, constant, strict=True)]

    return Threshold(f"{name}, {payload}: changing requests / constant", values)


def _judged(threshold: Threshold, rounds: Rounds) -> dict[str, Any]:
    bound, at_most = threshold.bound, threshold.at_most
    judged = {"name": threshold.name, "bound": bound, "at_most": at_most, "unit": threshold.unit}
    try:
        values = threshold.values(rounds)
    except LookupError:
        return {**judged, "median": None, "lowest": None, "highest": None, "met": None}
    median = statistics.median(values)
    met = None if bound is None else (median <= bound if at_most else median >= bound)
    lowest, highest = round(min(values), 3), round(max(values), 3)
    return {**judged, "median": round(median, 3), "lowest": lowest, "highest": highest, "met": met}
