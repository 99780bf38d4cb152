"""Are the requests of different clients ever mixed? Models whose rows depend on each other, under many clients.

Ten such models (`loadtest.bench.dependent_models`) are made and imported as ONNX, TFLite and SavedModel; every server
that hosts a format gets requests of one to five rows from 1, 2, 6 and 32 clients at once, each with inputs of its own,
with batching on and a wait that invites joining. Every answer is held against NumPy. Writes
`docs/benchmarks/mixing.{json,md}` and prints the table; status 1 where an answer was wrong or missing.

    python -m loadtest mixing [--servers onnxruntime,…] [--seconds 0.4]
    python -m loadtest mixing --control       # the servers are told to join: wrong answers must be found
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract import ARTIFACTS, MODEL_REPOSITORY, ROOT, Batching, Manifest, Tensors, to_json, write_whole
from loadtest.bench.client_threads import ClientThreads
from loadtest.bench.dependent_models import MODELS, DependentModel, random_inputs
from loadtest.client.target import Check, Target, assemble
from loadtest.runs.environment import environment, pinning
from loadtest.runs.managed_servers import ManagedServer, find_managed_server, running
from loadtest.table import of_lines, to_markdown
from serving.repository import read_artifacts
from serving.server import Endpoint, Settings, find_server, list_servers

FOLDER = ARTIFACTS / "mixing"
RESULT = ROOT / "docs" / "benchmarks" / "mixing.json"
CLIENTS = (1, 2, 6, 32)
REQUESTS, MOST_ROWS = 64, 5
TOLERANCE = 1e-4
INVITING = Settings(threads=1, workers=1, max_batch_size=32, max_queue_delay_us=2000)
Row = dict[str, Any]


def target_of(endpoint: Endpoint, manifest: Manifest, model: DependentModel) -> Target:
    """Different requests, and the answer to each by NumPy."""
    server, random = find_server(endpoint.server), np.random.default_rng(7)
    inputs = [random_inputs(1 + number % MOST_ROWS, random) for number in range(REQUESTS)]
    calls = [server.encode(endpoint.protocol, endpoint.artifact, manifest, {"x": x}) for x in inputs]

    def decode(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        return server.decode(endpoint.protocol, manifest, body, headers)

    ok_status = 0 if endpoint.protocol == "grpc" else 200
    checks = [Check(decode, _fault(model.expected(x)), ok_status) for x in inputs]
    return assemble(endpoint, calls, checks, "")


def _fault(expected: np.ndarray) -> Callable[[Tensors], str]:
    def fault(outputs: Tensors) -> str:
        y = outputs["y"]
        if y.shape != expected.shape:
            return f"shape {list(y.shape)}, expected {list(expected.shape)}"
        off = float(np.abs(y - expected).max(initial=0.0))
        return "" if off <= TOLERANCE else f"off by {off:.3g}"

    return fault


def measure(host: ManagedServer, seconds: float, progress: Callable[[], object]) -> list[Row]:
    """Every model, protocol and number of clients at one server: a row each."""
    rows = []
    models = {model.name: model for model in MODELS}
    with running(host, FOLDER, pinning()[0]) as started:
        for endpoint in started.endpoints.values():
            manifest = host.artifacts[endpoint.artifact]
            target = target_of(endpoint, manifest, models[endpoint.artifact.removesuffix(f"-{manifest.format}")])
            for count in CLIENTS:
                clients = ClientThreads(target, count)
                with clients:
                    time.sleep(seconds)
                about = {"server": host.name, "artifact": endpoint.artifact, "protocol": endpoint.protocol}
                total = clients.total()
                rows.append({**about, "clients": count, **total, "explanations": clients.explanations})
                progress()
    return rows


def table(rows: Sequence[Row]) -> str:
    """A line for each server, protocol and number of clients."""
    order = sorted(rows, key=_group)
    lines = []
    for (server, protocol, clients), same in groupby(order, key=_group):
        group = list(same)
        counts = [f"{sum(row[key] for row in group):,}" for key in ("right", "wrong", "refused", "failed")]
        lines.append([server, protocol, str(clients), str(len(group)), *counts])
    return to_markdown(
        of_lines(["Server", "Protocol", "Clients", "Models", "Right", "Wrong", "Refused", "Failed"], lines, words=2)
    )


def _group(row: Row) -> tuple[str, str, int]:
    return row["server"], row["protocol"], row["clients"]


def page(result: Mapping[str, Any]) -> str:
    """The page beside the result."""
    names = ", ".join(model.name for model in MODELS)
    about = (
        f"Made by `python -m loadtest mixing`, commit {result['environment']['git_commit']}. Ten models whose rows "
        f"depend on each other ({names}), {result['seconds']:g} s for each model, protocol and number of clients; "
        "clients send different inputs of one to five rows at the same time, and every answer is held against NumPy. "
        "The rows are in [mixing.json](mixing.json)."
    )
    return f"# Are the requests of different clients ever mixed?\n\n{about}\n\n{table(result['rows'])}\n"


def _build(control: bool) -> Path:
    """The model repository with the models, made anew; as a control their manifests say that rows are independent."""
    repository = FOLDER / "model_repository"
    shutil.rmtree(FOLDER, ignore_errors=True)
    print("making and importing the models (20 seconds)", file=sys.stderr)
    subprocess.run((sys.executable, "-m", "loadtest.bench.dependent_models", str(repository)), cwd=ROOT, check=True)
    for name, manifest in read_artifacts(repository).items() if control else ():
        replace(manifest, batching=Batching("declared", "a control, and false")).write(repository / name)
    return repository


def main(argv: Sequence[str] | None = None) -> int:
    """Make the models, measure in a process whose model repository they are, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest mixing", description=__doc__)
    parser.add_argument("--servers", default="", help="names with commas; all without")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each model, protocol and number of clients")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--control", action="store_true", help="let servers join requests; writes nothing")
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(words)
    if not MODEL_REPOSITORY.is_relative_to(FOLDER):  # every part of the project reads this variable when it starts
        environ = {**os.environ, "MODEL_REPOSITORY": str(_build(options.control))}
        command = (sys.executable, "-m", "loadtest", "mixing", *words)
        return subprocess.run(command, env=environ, check=False).returncode
    formats = {manifest.format for manifest in read_artifacts().values()}
    names = options.servers.split(",") if options.servers else list_servers()
    hosts = [find_managed_server(n, settings=INVITING) for n in names if formats & {*find_server(n).formats}]
    rows: list[Row] = []
    with tqdm(total=sum(len(host.endpoints) for host in hosts) * len(CLIENTS), file=sys.stderr) as progress:
        for host in hosts:
            rows += measure(host, options.seconds, progress.update)
    wrong = sum(row["wrong"] for row in rows)
    if options.control:
        print(table(rows))
        return 0 if wrong else 1
    result = {"rows": rows, "environment": environment(pinning()[0], None), "seconds": options.seconds}
    write_whole(options.output, to_json(result).encode())
    write_whole(options.output.with_suffix(".md"), page(result).encode())
    print(table(rows))
    return 0 if not wrong and all(row["right"] and not (row["failed"] or row["refused"]) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
