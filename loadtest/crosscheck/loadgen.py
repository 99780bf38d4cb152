"""MLPerf LoadGen driving one of our endpoints: `make crosscheck` compares its latencies with ours.

    python -m loadtest.crosscheck.loadgen ENDPOINT --scenario single_stream|server --rate 200 --seconds 5 --folder F

LoadGen keeps the clock, the schedule and the percentiles; this program only sends its queries, with the
same ready-made requests and the same check. It prints `{"p50_ms", "p99_ms", "queries", "valid"}`.
"""

from __future__ import annotations

import argparse
import gc
import json
import queue
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract import MODEL_REPOSITORY, StageError
from loadtest.client.target import Connection, Target, build_target
from serving.server import Endpoint

THREADS = 16
"""Senders in the server scenario: LoadGen must never wait for one."""
PERCENTILE = re.compile(r"^(50|99)\.00 percentile latency \(ns\)\s*:\s*(\d+)", re.MULTILINE)


@dataclass
class QuerySender:
    """Sends LoadGen's queries over the wire: each where LoadGen calls, or by threads that each have a connection."""

    loadgen: Any
    target: Target
    waiting: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.own = self.target.connection()
        self.own.connect()

    def send_here(self, numbers: list[int], indices: list[int]) -> None:
        """Answer a query before returning: LoadGen has one out at a time."""
        self._send(self.own, numbers[0], indices[0])

    def hand_on(self, numbers: list[int], indices: list[int]) -> None:
        """Give a query to the next free thread: LoadGen goes on with its schedule."""
        self.waiting.put((numbers[0], indices[0]))

    def start(self, count: int) -> list[threading.Thread]:
        """Start the threads."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _work(self) -> None:
        connection = self.target.connection()
        connection.connect()
        while (query := self.waiting.get()) is not None:
            self._send(connection, *query)
        connection.close()

    def _send(self, connection: Connection, number: int, index: int) -> None:
        answer = connection.exchange(self.target.requests[index])
        self.loadgen.QuerySamplesComplete([self.loadgen.QuerySampleResponse(number, 0, 0)])
        if fault := self.target.fault(index, answer):
            self.faults.append(fault)


def measure(endpoint: Endpoint, scenario: str, rate_rps: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Let LoadGen measure `endpoint`; raises StageError where an answer is wrong or the summary has no figures."""
    loadgen = _import_loadgen()
    target = build_target(endpoint, MODEL_REPOSITORY)
    sender = QuerySender(loadgen, target)
    alone = scenario == "single_stream"
    threads = [] if alone else sender.start(THREADS)
    sut = loadgen.ConstructFastSUT(sender.send_here if alone else sender.hand_on, lambda: None)
    library = loadgen.ConstructQSL(len(target.requests), len(target.requests), lambda _: None, lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    log = loadgen.LogSettings()
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    log.enable_trace = False
    gc.collect()
    gc.disable()  # as our own generator does: a collection would stand still in the middle of somebody's latency
    loadgen.StartTestWithLogSettings(sut, library, _settings(loadgen, scenario, rate_rps, seconds), log)
    gc.enable()
    loadgen.DestroyQSL(library)
    loadgen.DestroyFastSUT(sut)
    for _ in threads:
        sender.waiting.put(None)
    for thread in threads:
        thread.join()
    if sender.faults:
        raise StageError(f"{endpoint.name}: wrong answer under LoadGen: {sender.faults[0]}")
    return read_summary(folder / "mlperf_log_summary.txt")


def read_summary(path: Path) -> dict[str, Any]:
    """The percentiles in LoadGen's own summary."""
    text = path.read_text()
    percentiles = {f"p{share}_ms": int(value) / 1e6 for share, value in PERCENTILE.findall(text)}
    queries = re.search(r"samples_per_query[^\n]*|min_query_count\s*:\s*(\d+)", text)
    if set(percentiles) != {"p50_ms", "p99_ms"}:
        raise StageError(f"{path} has no percentiles: {text[:300]}")
    return {**percentiles, "valid": "Result is : VALID" in text, "min_query_count": queries and queries.group(1)}


def _settings(loadgen: Any, scenario: str, rate_rps: float, seconds: float) -> Any:
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(seconds * 1000)
    if scenario == "single_stream":
        settings.scenario = loadgen.TestScenario.SingleStream
        settings.single_stream_expected_latency_ns = 1_000_000
        settings.min_query_count = 662
    else:
        settings.scenario = loadgen.TestScenario.Server
        settings.server_target_qps = rate_rps
        settings.server_target_latency_ns = 1_000_000_000
        settings.min_query_count = int(rate_rps * seconds)
    return settings


def _import_loadgen() -> Any:
    try:
        import mlperf_loadgen
    except ImportError:
        raise StageError("mlcommons-loadgen is not installed: `make crosscheck` installs it") from None
    return mlperf_loadgen


def main() -> int:
    """Measure one endpoint and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("endpoint", help="the endpoint's fields as JSON")
    parser.add_argument("--scenario", choices=("single_stream", "server"), required=True)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    endpoint = Endpoint(**json.loads(options.endpoint))
    try:
        figures = measure(endpoint, options.scenario, options.rate, options.seconds, options.folder)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
