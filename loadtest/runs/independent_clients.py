"""Clients that we didn't write, under the same load as our generator: wrk for REST, h2load (nghttp2) for gRPC.

Both count statuses and look into no answer; h2load sees HTTP's status only and sends one message again and again.
Both write their files into a folder that the caller gives, and return figures under the same names.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from contract import StageError
from loadtest.client.changing import ChangingBytes
from loadtest.client.prepared import NOISE, PLACES, PreparedRequests
from loadtest.client.requests import http1_request
from loadtest.runs.generator_process import run_to_end

Figures = dict[str, float]
SPARE_S = 30.0
WRK_SCRIPT = """\
local file = io.open("{blob}", "rb")
local blob = file:read("*a")
file:close()
local fill = {{
  trace = function(n) return ("%08x%024x-%016x"):format({salt}, n, n) end,
  id = function(n) return ("%024x-request"):format(n) end,
  digits = function(n) return ("0.0001%04d"):format(n % 10000) end,
  bytes = function(n) return string.char(n % 256, math.floor(n / 256) % 256, {high}) end,
}}
local requests, start = {{}}, 1
for line in ("{cuts}"):gmatch("[^;]+") do
  local parts = {{}}
  for length, place in line:gmatch("(%d+):(%a*)") do
    parts[#parts + 1] = blob:sub(start, start + length - 1)
    start = start + length
    if place ~= "" then parts[#parts + 1] = fill[place] end
  end
  requests[#requests + 1] = #parts == 1 and parts[1] or parts
end
local number = 0
request = function()
  number = number + 1
  local parts = requests[number % #requests + 1]
  if type(parts) == "string" then return parts end
  local filled = {{}}
  for index, part in ipairs(parts) do
    filled[index] = type(part) == "function" and part(number) or part
  end
  return table.concat(filled)
end
done = function(summary, latency)
  local e = summary.errors
  local form = '{{"requests": %d, "failures": %d, "requests_per_s": %f, "p50_ms": %f, "p99_ms": %f}}\\n'
  local failures = e.connect + e.read + e.write + e.status + e.timeout
  local rate = summary.requests / summary.duration * 1e6
  io.write(form:format(summary.requests, failures, rate, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
H2LOAD_RATE = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
H2LOAD_COUNTS = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


def client_for(protocol: str) -> str:
    """The program that speaks a protocol."""
    return "h2load" if protocol == "grpc" else "wrk"


def is_installed(program: str) -> bool:
    """Whether the program is on the PATH."""
    return shutil.which(program) is not None


def run_wrk(
    prepared: PreparedRequests, port: int, connections: int, seconds: float, cpus: Collection[int] | None, folder: Path
) -> Figures:
    """Load a REST server with the requests in turn for whole seconds, at least one.

    Returns requests, failures, requests_per_s, p50_ms and p99_ms; raises StageError where wrk fails.
    """
    places = PLACES if prepared.changing else ()
    calls = [http1_request(call.path, call.headers, call.body, "127.0.0.1") for call in prepared.sends()]
    cut = [ChangingBytes.find(call, places) for call in calls]
    blob, script = folder / "wrk.requests", folder / "wrk.lua"
    blob.write_bytes(b"".join(piece for request in cut for piece in request.pieces))
    high = ", ".join(str(byte) for byte in NOISE.tobytes()[2:])
    cuts = ";".join(map(_cuts, cut))
    script.write_text(WRK_SCRIPT.format(blob=blob, cuts=cuts, salt=secrets.randbits(31) + 1, high=high))
    whole_s = max(1, round(seconds))
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{whole_s}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    output = run_to_end(argv, folder / "wrk.log", cpus, whole_s + SPARE_S)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise StageError(f"wrk printed no figures:\n{output}")
    figures: Figures = json.loads(lines[-1])
    return figures


def _cuts(request: ChangingBytes) -> str:
    """The lengths of the pieces, each with the name of the place behind it."""
    names = [place.name for place in request.places] + [""]
    return ",".join(f"{len(piece)}:{name}" for piece, name in zip(request.pieces, names, strict=True))


def run_h2load(
    prepared: PreparedRequests, port: int, connections: int, seconds: float, cpus: Collection[int] | None, folder: Path
) -> Figures:
    """Load a gRPC server with the first message for whole seconds, at least one; otherwise as `run_wrk`."""
    call, body, log = prepared.calls[0], folder / "h2load.message", folder / "h2load.requests"
    body.write_bytes(b"\0" + len(call.body).to_bytes(4, "big") + call.body)
    log.unlink(missing_ok=True)
    whole_s = max(1, round(seconds))
    argv = ["h2load", "-t1", f"-c{connections}", "-m1", "-D", str(whole_s), "-d", str(body), f"--log-file={log}"]
    for name, value in {"content-type": "application/grpc", "te": "trailers", **call.headers}.items():
        argv += ["-H", f"{name}: {value}"]
    output = run_to_end([*argv, f"http://127.0.0.1:{port}{call.path}"], folder / "h2load.out", cpus, whole_s + SPARE_S)
    rate, counts = H2LOAD_RATE.search(output), H2LOAD_COUNTS.search(output)
    if rate is None or counts is None or not log.is_file():
        raise StageError(f"h2load printed no figures:\n{output}")
    done, _, *lost = map(int, counts.groups())
    latencies_ms = np.loadtxt(log, usecols=2, ndmin=1) / 1e3  # start in µs, status, duration in µs
    p50_ms, p99_ms = np.quantile(latencies_ms, [0.5, 0.99])
    return {
        "requests": done,
        "failures": sum(lost),
        "requests_per_s": float(rate[1]),
        "p50_ms": float(p50_ms),
        "p99_ms": float(p99_ms),
    }
