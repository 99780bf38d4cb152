"""Is the instrument right? `make crosscheck` holds it against itself and against other tools, and writes the answer.

Through the path of `make compare`, in a profile: (a) one endpoint under ten names, of which at most 1 pair in 100 may
show a difference; (b) null servers that are slower by 10 % and 25 %, which must be found; (c) the default comparison,
the widths of its intervals and its time. Beside other tools: (d) MLPerf LoadGen drives the same endpoint and must agree
within 10 % at p50 and 15 % at p99; (e) wrk (REST) and h2load (gRPC) measure 80 times in turn with our generator and
must agree within 15 % on closed-loop throughput.

Reads the model repository; writes `<workspace>/results/crosscheck/` and `docs/benchmarks/crosscheck.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract import RESULTS, ROOT, shown, to_json, write_whole
from loadtest.crosscheck.independent import against_independent_clients
from loadtest.crosscheck.loadgen_check import against_loadgen
from loadtest.crosscheck.page import is_known, render, title
from loadtest.crosscheck.self_check import against_itself, default_comparison, planted_slowdowns
from loadtest.runs.environment import environment, pinning

FOLDER = RESULTS / "crosscheck"
PUBLISHED = ROOT / "docs" / "benchmarks" / "crosscheck.json"
Check = Callable[[Path, str, str], dict[str, Any]]
"""From a folder, an endpoint's name and a profile to what was found."""
COMPARED: dict[str, Check] = {"aa": against_itself, "slowdown": planted_slowdowns, "default": default_comparison}
"""Made in a profile of the comparison; the result has it in its key, `aa-quick`."""
BESIDE: dict[str, Check] = {"loadgen": against_loadgen, "clients": against_independent_clients}


def main(words: Sequence[str]) -> int:
    """Make the checks, write what they found; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtest crosscheck", description=(__doc__ or "").splitlines()[0])
    kept = "all by default; the others keep what was found before"
    parser.add_argument("--checks", nargs="*", choices=(*COMPARED, *BESIDE), default=(*COMPARED, *BESIDE), help=kept)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick", help="of (a), (b) and (c)")
    parser.add_argument("--output", type=Path, default=PUBLISHED)
    parser.add_argument("--endpoint", default="onnxruntime/pytorch-onnx/rest-binary", help="of (a), (d) and (e)")
    options = parser.parse_args(words)
    checks: dict[str, Any] = json.loads(options.output.read_bytes())["checks"] if options.output.is_file() else {}
    checks = {key: check for key, check in checks.items() if is_known(key)}
    about = environment(*pinning())
    for name in options.checks:
        key = f"{name}-{options.profile}" if name in COMPARED else name
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "git_commit": about["git_commit"]}
        checks[key] = {**COMPARED, **BESIDE}[name](FOLDER / key, options.endpoint, options.profile) | made
        print(f"{title(key)}: {checks[key]['outcome']}: {checks[key]['text']}", flush=True)
    fields = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(("python -m loadtest crosscheck", *words)),
        "environment": about,
        "checks": dict(sorted(checks.items(), key=lambda item: title(item[0]))),
    }
    write_whole(options.output, to_json(fields).encode())
    write_whole(options.output.with_suffix(".md"), render(fields).encode())
    print(f"results: {shown(options.output)} and .md")
    return 0 if all(check["outcome"] in {"pass", "not made"} for check in checks.values()) else 1
