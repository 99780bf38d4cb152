"""`make slo TARGET_MS=5`: per endpoint the highest open-loop rate at which p99 from the intended send meets the target.

Once with each server's default settings, then with the best of its declared grid (`Server.grid`): both are shown. Reads
the model repository; writes `artifacts/results/slo/slo.json`, which the next report shows, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract import RESULTS, shown, to_json, write_whole
from loadtest.generator.rate_search import LOWEST_RPS, MISSED
from loadtest.plan import EndpointPlan, Search
from loadtest.runs.calibration import calibrate
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import run_generator
from loadtest.runs.managed_servers import ManagedServer, choose_servers, running
from serving.repository import read_artifacts
from serving.server import Settings, servers_for

FOLDER = RESULTS / "slo"
WARM_UP_S = 0.5
CALIBRATION_S, CALIBRATION_RPS = 1.0, 250.0


def main(words: Sequence[str]) -> int:
    """Search, write slo.json, print the table."""
    parser = argparse.ArgumentParser(prog="python -m loadtest slo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target-ms", type=float, default=5.0, help="p99 from the intended send")
    parser.add_argument("--servers", nargs="*", default=(), metavar="NAME", help="all by default")
    parser.add_argument("--only", nargs="*", default=(), metavar="ENDPOINT", help="endpoints whose names begin so")
    parser.add_argument("--no-tuning", action="store_true", help="the default settings only")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    hosts = choose_servers(given.servers or servers_for(read_artifacts()), (), given.only)
    endpoints = [endpoint for host in hosts for endpoint in host.endpoints]
    clients = {one["protocol"]: one for one in calibrate(FOLDER, endpoints, CALIBRATION_S, CALIBRATION_RPS, *pinning())}
    found: list[dict[str, Any]] = []
    grids = {host.name: _grid(host, given.no_tuning) for host in hosts}
    total = sum(len(host.endpoints) * len(grids[host.name]) for host in hosts)
    with tqdm(total=total, desc="slo", unit="search", file=sys.stderr) as bar:
        for host in hosts:
            before = found
            for rows in _search_host(host, grids[host.name], clients, given.target_ms, given.seed, bar):
                found = [*before, *rows]
                _write(found, given.target_ms, clients, words)
    print(table(found, given.target_ms))
    print(f"\nresults: {shown(FOLDER / 'slo.json')}; `make report` shows them")
    return 0


def _grid(host: ManagedServer, no_tuning: bool) -> Sequence[Settings]:
    assert host.server is not None
    return host.server.grid[:1] if no_tuning else host.server.grid


def _search_host(
    host: ManagedServer, grid: Sequence[Settings], clients: dict[str, Any], target_ms: float, seed: int, bar: tqdm[Any]
) -> Iterator[list[dict[str, Any]]]:
    """Each endpoint's rate by default, and the best of the grid so far, after each of its settings."""
    defaults: dict[str, dict[str, Any]] = {}
    best: dict[str, dict[str, Any]] = {}
    for number, settings in enumerate(grid):
        bar.set_postfix_str(f"{host.name} {describe(settings, grid[0])}")
        above = {name: one["rate_rps"] or 0.0 for name, one in best.items()}
        results = _search(replace(host, settings=settings), number, clients, target_ms, above, seed)
        bar.update(len(results))
        for name, result in results.items():
            result |= {"name": name, "setting": describe(settings, grid[0]), "settings_used": asdict(settings)}
            if number == 0:
                defaults[name] = {**result, "settings": "default"}
                best[name] = {**result, "settings": "tuned"}
            elif (result["rate_rps"] or 0.0) > (best[name]["rate_rps"] or 0.0):
                best[name] = {**result, "settings": "tuned"}
        yield [*defaults.values(), *(best.values() if number else ())]


def _search(
    host: ManagedServer, number: int, clients: dict[str, Any], target_ms: float, above: dict[str, float], seed: int
) -> dict[str, dict[str, Any]]:
    """Start the host with its settings and search every endpoint's rate."""
    server_cpus, client_cpus = pinning()
    plans = []
    with running(host, FOLDER, server_cpus) as hosted:
        for index, endpoint in enumerate(host.endpoints):
            path = FOLDER / endpoint.name.replace("/", "__") / f"settings-{number}.json"
            path.unlink(missing_ok=True)
            search = Search(str(path), seed * 100_000 + index * 1000, clients, above.get(endpoint.name, 0.0))
            plans.append(
                EndpointPlan(hosted.endpoints[endpoint.name], (), hosted.pid, WARM_UP_S, target_ms, search=search)
            )
        run_generator(FOLDER, plans, client_cpus)
    return {plan.endpoint.name: json.loads(Path(plan.search.path).read_bytes()) for plan in plans if plan.search}


def _write(found: list[dict[str, Any]], target_ms: float, clients: dict[str, Any], words: Sequence[str]) -> None:
    kept = [{key: value for key, value in one.items() if key not in {"probes", "endpoint"}} for one in found]
    fields = {
        "target_ms": target_ms,
        "percentile": "p99 from the intended send",
        "command": " ".join(("python -m loadtest slo", *words)),
        "environment": environment(*pinning()),
        "clients": list(clients.values()),
        "endpoints": kept,
    }
    write_whole(FOLDER / "slo.json", to_json(fields).encode())


def describe(settings: Settings, default: Settings) -> str:
    """What differs from the server's defaults, e.g. `threads=2`."""
    usual = asdict(default)
    changed = [f"{key}={value}" for key, value in asdict(settings).items() if value != usual[key]]
    return ", ".join(changed) or "defaults"


def table(found: Sequence[dict[str, Any]], target_ms: float) -> str:
    """The rates as a Markdown table, default and tuned side by side."""
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for one in found:
        by_name.setdefault(one["name"], {})[one["settings"]] = one
    lines = [
        f"| endpoint | requests/s, p99 ≤ {target_ms:g} ms | goodput | p99, ms | CPU | memory, MB "
        "| tuned | its settings |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, pair in sorted(by_name.items()):
        default, tuned = pair["default"], pair.get("tuned", pair["default"])
        memory = default["rss_bytes"] and default["rss_bytes"] / 1e6
        cells = [name, _rate(default), _cell(default["goodput_rps"], "{:,.0f}")]
        cells += [_cell(default["p99_ms"], "{:.2f}"), _cell(default["cpu_share"], "{:.2f}")]
        lines.append("| " + " | ".join([*cells, _cell(memory, "{:.0f}"), _rate(tuned), tuned["setting"]]) + " |")
    return "\n".join(lines)


def _rate(one: dict[str, Any]) -> str:
    if one["rate_rps"] is None:
        return f"< {LOWEST_RPS:g}" if one["reason"].startswith(MISSED) else f"n/a ({one['reason']})"
    mark = "" if one["confirmed"] else " (not confirmed)"
    return f"{'≥ ' if one.get('client_limited') else ''}{one['rate_rps']:,.0f}{mark}"


def _cell(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)
