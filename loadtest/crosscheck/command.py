"""Is the instrument right? `make crosscheck` holds it against itself and against other tools, and writes the answer.

(a) A/A: one endpoint under two names; at most 1 of 20 comparisons may see a difference. (b) A planted slowdown of 10 %
and 25 % must be found in 9 and 10 of 10 comparisons. (c) MLPerf LoadGen drives the same endpoint, SingleStream and
Server, and must agree within 10 % at p50 and 15 % at p99. (d) wrk (REST) and
h2load (gRPC) take 80 turns with ours and must agree within 15 % on closed-loop throughput.

Reads the model repository; writes `artifacts/results/crosscheck/` and `docs/benchmarks/crosscheck.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract import RESULTS, ROOT, shown, to_json, write_whole
from loadtest.crosscheck.independent import against_independent_clients
from loadtest.crosscheck.loadgen_check import against_loadgen
from loadtest.crosscheck.page import TITLES, render
from loadtest.crosscheck.self_check import against_itself, planted_slowdowns
from loadtest.runs.environment import environment, pinning

FOLDER = RESULTS / "crosscheck"
PUBLISHED = ROOT / "docs" / "benchmarks" / "crosscheck.json"
CHECKS = {
    "aa": against_itself,
    "slowdown": planted_slowdowns,
    "loadgen": against_loadgen,
    "clients": against_independent_clients,
}


def main(words: Sequence[str]) -> int:
    """Make the checks, write what they found; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtest crosscheck", description=(__doc__ or "").splitlines()[0])
    kept = "all by default; the others keep what was found before"
    parser.add_argument("--checks", nargs="*", choices=tuple(CHECKS), default=tuple(CHECKS), help=kept)
    parser.add_argument("--output", type=Path, default=PUBLISHED)
    parser.add_argument("--comparisons", type=int, default=20, help="of (a); (b) makes half as many for each slowdown")
    parser.add_argument("--endpoint", default="onnxruntime/pytorch-onnx/rest-binary", help="of (a), (c) and (d)")
    options = parser.parse_args(words)
    checks: dict[str, Any] = json.loads(options.output.read_bytes())["checks"] if options.output.is_file() else {}
    about = environment(*pinning())
    for key in options.checks:
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "git_commit": about["git_commit"]}
        checks[key] = CHECKS[key](FOLDER / key, options.endpoint, options.comparisons) | made
        print(f"{TITLES[key]}: {checks[key]['outcome']}: {checks[key]['text']}", flush=True)
    fields = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(("python -m loadtest crosscheck", *words)),
        "environment": about,
        "checks": {key: checks[key] for key in CHECKS if key in checks},
    }
    write_whole(options.output, to_json(fields).encode())
    write_whole(options.output.with_suffix(".md"), render(fields).encode())
    print(f"results: {shown(options.output)} and .md")
    return 0 if all(check["outcome"] in {"pass", "not made"} for check in checks.values()) else 1
