"""The client's ceiling against a plain `FastHttpUser` loop: `python -m loadtest client_speed`.

Both send the same request to the same null server, in turns, in processes of their own on the same core; ours checks
every answer and keeps raw times, the plain loop does neither. Prints requests per second, processor time and their
ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from contract import RESULTS, ROOT, to_json, write_whole
from loadtest.plan import EndpointPlan, FixedResponse, Run
from loadtest.runs.calibration import null_server
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import run_generator, run_to_end
from loadtest.scenarios import Closed
from serving.server import Call, Endpoint

FOLDER = RESULTS / "client_speed"
ANSWER = b'{"outputs": "' + b"0" * 280 + b'"}'
BODY = b"0" * 8000
"""About the size of a digit as JSON."""
PATH = "/v2/models/null/infer"


def main(words: Sequence[str]) -> int:
    """Measure both in turns and print their ratio."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest client_speed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "client_speed.json")
    options = parser.parse_args(words)
    server_cpus, _ = pinning()
    with null_server(FOLDER, "rest", ANSWER, server_cpus) as (_, port):
        ours, plain = [], []
        for number in range(options.repeats):
            ours.append(_ours(port, options.users, options.seconds, number))
            plain.append(_plain(port, options.users, options.seconds))
    ratio = float(np.median([rps for rps, _ in ours]) / np.median([rps for rps, _ in plain]))
    per_core = float(np.median([rps / cpu for rps, cpu in ours]) / np.median([rps / cpu for rps, cpu in plain]))
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "users": options.users,
        "ours_rps": [rps for rps, _ in ours],
        "fast_http_user_rps": [rps for rps, _ in plain],
        "ratio": ratio,
        "ratio_per_cpu_second": per_core,
        "environment": environment(*pinning()),
    }
    write_whole(options.output, to_json(result).encode())
    print(f"ours, every answer checked   {np.median(result['ours_rps']):8.0f} requests/s")
    print(f"plain FastHttpUser           {np.median(result['fast_http_user_rps']):8.0f} requests/s")
    print(f"ratio {ratio:.2f} (at least 0.8 is required); per processor second {per_core:.2f}")
    return 0 if ratio >= 0.8 else 1


def _ours(port: int, users: int, seconds: float, number: int) -> tuple[float, float]:
    """Requests per second, and the share of a core that they took."""
    path = FOLDER / f"ours-{number}"
    path.with_suffix(".json").unlink(missing_ok=True)
    fixed = FixedResponse(Call(PATH, BODY, {"Content-Type": "application/json"}), ANSWER)
    plan = EndpointPlan(
        Endpoint("null", "null", "rest", port), (Run(Closed(users, seconds), 1, 1, str(path)),), fixed=fixed
    )
    run_generator(FOLDER, [plan], pinning()[1])
    result = json.loads(path.with_suffix(".json").read_bytes())
    return result["throughput_rps"], result["client"]["cpu_share"]


def _plain(port: int, users: int, seconds: float) -> tuple[float, float]:
    """The same of Locust's own fast user, from the figures that it prints."""
    argv = [
        sys.executable,
        "-m",
        "loadtest.generator.fast_http_user",
        str(port),
        str(users),
        str(seconds),
        PATH,
        str(len(BODY)),
    ]
    figures = json.loads(run_to_end(argv, FOLDER / "plain.log", pinning()[1], seconds + 60).splitlines()[-1])
    return figures["rps"], figures["cpu_share"]
