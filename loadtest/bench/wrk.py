"""wrk as a second load generator of the servers' benchmark, where it is installed: what is fast here is not our client.

It sends the same requests in the same order and counts statuses; it does not look into an answer, which is left to
`loadtest.bench.closed_loop`. Writes a script and the requests into a folder, returns figures under the same names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from contract import StageError
from loadtest.bench.closed_loop import Plan
from loadtest.runs.generator_process import run_to_end

SCRIPT = """\
local file = io.open("{blob}", "rb")
local blob = file:read("*a")
file:close()
local requests, start = {{}}, 1
for length in ("{lengths}"):gmatch("%d+") do
  requests[#requests + 1] = blob:sub(start, start + tonumber(length) - 1)
  start = start + tonumber(length)
end
local number = 0
request = function()
  number = number % #requests + 1
  return requests[number]
end
done = function(summary, latency)
  local e = summary.errors
  local form = '{{"requests": %d, "failures": %d, "requests_per_s": %f, "p50_ms": %f, "p99_ms": %f}}\\n'
  local failures = e.connect + e.read + e.write + e.status + e.timeout
  local rate = summary.requests / summary.duration * 1e6
  io.write(form:format(summary.requests, failures, rate, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def is_installed() -> bool:
    """Whether there is a `wrk` on the PATH."""
    return shutil.which("wrk") is not None


def run(
    plan: Path, port: int, connections: int, seconds: float, cpus: Collection[int] | None, folder: Path
) -> dict[str, float]:
    """Load the server with the HTTP requests of `plan` for whole seconds, at least one.

    Returns requests, failures, requests_per_s, p50_ms and p99_ms; raises StageError where wrk fails.
    """
    requests = Plan.read(plan).requests
    blob, script = folder / "wrk.requests", folder / "wrk.lua"
    blob.write_bytes(b"".join(requests))
    script.write_text(SCRIPT.format(blob=blob, lengths=" ".join(str(len(request)) for request in requests)))
    whole_s = max(1, round(seconds))
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{whole_s}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    said = run_to_end(argv, folder / "wrk.log", cpus, whole_s + 30)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise StageError(f"wrk printed no figures:\n{said}")
    found: dict[str, float] = json.loads(lines[-1])
    return {**found, "answers": found["requests"]}
