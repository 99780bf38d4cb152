"""Check (e): our generator and clients that we didn't write take turns at one endpoint under the same closed loop.

wrk speaks REST, h2load gRPC. Both sides send the same requests over as many connections; neighbouring turns are
compared, so that a machine whose speed drifts drifts under both.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student
from tqdm import tqdm

from contract import StageError
from loadtest.client.prepared import PreparedRequests
from loadtest.plan import EndpointPlan, Run
from loadtest.runs.environment import pinning
from loadtest.runs.generator_process import run_generator
from loadtest.runs.independent_clients import client_for, is_installed, run_h2load, run_wrk
from loadtest.runs.managed_servers import RunningServer, find_managed_server, running
from loadtest.scenarios import Closed
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, find_server

REPEATS, SECONDS, CONNECTIONS = 80, 1.0, 32
WARM_UP_S = 0.1
SAMPLES = 64
BOUND = 0.15
PAYLOADS = {"rest": "json", "rest-binary": "binary", "grpc": "grpc"}
FIGURES = {"requests_per_s": "answers per second", "p50_ms": "p50"}


@dataclass(frozen=True)
class Difference:
    """Ours divided by theirs, less one: the mean over the turns and its 95 % interval."""

    mean: float
    low: float
    high: float


def against_independent_clients(folder: Path, endpoint: str, _profile: str) -> dict[str, Any]:
    """Our generator and the other client in turn, at the endpoint and at its sibling over gRPC."""
    server, artifact, _ = endpoint.split("/")
    names = dict.fromkeys((endpoint, f"{server}/{artifact}/grpc"))
    missing = [client for name in names if not is_installed(client := client_for(name.rpartition("/")[2]))]
    if missing:
        return {"outcome": "not made", "text": f"{' and '.join(missing)}: not installed"}
    folder.mkdir(parents=True, exist_ok=True)
    endpoints: dict[str, dict[str, Any]] = {}
    with running(find_managed_server(server, list(names)), folder, pinning()[0]) as hosted:
        for name in names:
            measurements = alternate(folder, hosted, hosted.endpoints[name], REPEATS, SECONDS)
            client = client_for(hosted.endpoints[name].protocol)
            differences = {
                figure: asdict(difference(measurements["ours"], measurements[client], figure)) for figure in FIGURES
            }
            endpoints[name] = {"client": client, "measurements": measurements, "differences": differences}
    good = all(abs(side["differences"]["requests_per_s"]["mean"]) <= BOUND for side in endpoints.values())
    text = "; ".join(_sentence(name, side) for name, side in endpoints.items())
    fields = {
        "bound": BOUND,
        "connections": CONNECTIONS,
        "repeats": REPEATS,
        "seconds": SECONDS,
        "endpoints": endpoints,
    }
    return {"outcome": "pass" if good else "fail", "text": text, **fields}


def _sentence(name: str, side: dict[str, Any]) -> str:
    rate = side["differences"]["requests_per_s"]
    interval = f"{rate['low']:+.1%} to {rate['high']:+.1%}"
    return f"{name}: ours/{side['client']} {rate['mean']:+.1%} ({interval}) on answers per second"


def alternate(
    folder: Path, hosted: RunningServer, endpoint: Endpoint, repeats: int, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """Let both measure in turn; neither always comes first. The figures of each, turn by turn."""
    client, prepared = client_for(endpoint.protocol), prepare(endpoint)
    prepared.write(folder / "requests.npz")
    run_client = run_h2load if client == "h2load" else run_wrk

    def ours() -> dict[str, float]:
        return _ours(folder, hosted, endpoint, seconds)

    def theirs() -> dict[str, float]:
        figures = run_client(prepared, endpoint.port, CONNECTIONS, seconds, pinning()[1], folder)
        return _checked(f"{endpoint.name} under {client}", figures)

    sides: list[tuple[str, Callable[[], dict[str, float]]]] = [("ours", ours), (client, theirs)]
    figures: dict[str, list[dict[str, float]]] = {name: [] for name, _ in sides}
    for number in tqdm(range(repeats), desc=f"{client} and ours", file=sys.stderr):
        for name, measure in sides[:: -1 if number % 2 else 1]:
            figures[name].append(measure())
    return figures


def prepare(endpoint: Endpoint) -> PreparedRequests:
    """What both sides send: different samples with changing headers over REST, one message over gRPC (h2load's way)."""
    samples, manifest = read_samples(), read_artifacts()[endpoint.artifact]
    server, grpc = find_server(endpoint.server), endpoint.protocol == "grpc"
    rows = range(1 if grpc else min(SAMPLES, len(samples)))
    calls = [server.encode(endpoint.protocol, endpoint.artifact, manifest, samples.take([row])) for row in rows]
    expected = next(iter(samples.expected[endpoint.artifact].values()))[: len(rows)].astype(np.float32)
    return PreparedRequests(calls, expected, PAYLOADS[endpoint.protocol], changing=not grpc)


def _ours(folder: Path, hosted: RunningServer, endpoint: Endpoint, seconds: float) -> dict[str, float]:
    path = folder / "ours"
    run = Run(Closed(CONNECTIONS, seconds), 1, 1, str(path))
    plan = EndpointPlan(endpoint, (run,), hosted.pid, WARM_UP_S, prepared=str(folder / "requests.npz"))
    path.with_suffix(".json").unlink(missing_ok=True)
    if not run_generator(folder, [plan], pinning()[1]):
        raise StageError(f"{endpoint.name} failed its pre-flight: see {folder}/generator.log")
    result = json.loads(path.with_suffix(".json").read_bytes())
    figures = {
        "requests": result["requests"],
        "failures": result["failures"] + result["wrong_answers"],
        "requests_per_s": result["throughput_rps"],
        "p50_ms": result["latency_ms"]["p50"],
        "p99_ms": result["latency_ms"]["p99"],
    }
    return _checked(f"{endpoint.name} under ours", figures)


def _checked(title: str, figures: dict[str, float]) -> dict[str, float]:
    if figures["failures"] or not figures["requests"]:
        raise StageError(f"{title}: {figures['failures']:.0f} of {figures['requests']:.0f} requests failed")
    return figures


def difference(
    ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]], figure: str, confidence: float = 0.95
) -> Difference:
    """Student's interval on the logarithms of the ratios of neighbouring turns."""
    logs = np.log([mine[figure] / other[figure] for mine, other in zip(ours, theirs, strict=True)])
    error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    half = float(student.ppf((1 + confidence) / 2, len(logs) - 1)) * error
    mean = float(np.mean(logs))
    return Difference(*(math.expm1(value) for value in (mean, mean - half, mean + half)))
