"""`make slo TARGET_MS=5`: per endpoint the highest open-loop rate at which p99 from the intended send meets the target.

Once with each server's default settings, then with the best of its declared grid (`Server.grid`): both are shown. With
`--rate` it says how many replicas carry that rate, with `--price` what a million answers cost. Reads the model
repository; writes `<workspace>/results/slo/slo.json`, which the next report shows, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tqdm import tqdm

from contract import RESULTS, shown, to_json, write_whole
from loadtest.analysis.facts import Rate, Rates
from loadtest.generator.rate_search import LOWEST_RPS, MISSED
from loadtest.plan import EndpointPlan, Search
from loadtest.runs.calibration import calibrate
from loadtest.runs.environment import environment, pinning
from loadtest.runs.generator_process import run_generator
from loadtest.runs.managed_servers import ManagedServer, choose_servers, running
from loadtest.table import Column, Table, row, to_markdown
from serving.server import Settings

FOLDER = RESULTS / "slo"
WARM_UP_S = 0.5
CALIBRATION_S, CALIBRATION_RPS = 1.0, 250.0
HEADROOM = 0.3
"""Share of a replica's highest rate that is left free: for a replica that fails, and for arrivals that bunch."""


@dataclass(frozen=True)
class Wish:
    """What the user wants to know of the rates."""

    target_ms: float
    rate_rps: float = 0.0
    """To be carried by replicas; 0: not asked."""
    price_per_vcpu_hour: float = 0.0
    """0: no costs."""
    seed: int = 1


def main(words: Sequence[str]) -> int:
    """Search, write slo.json, print the table."""
    options = _parser().parse_args(words)
    wish = Wish(options.target_ms, options.rate, options.price, options.seed)
    servers = choose_servers(options.servers, (), options.only)
    endpoints = [endpoint for server in servers for endpoint in server.endpoints]
    clients = calibrate(FOLDER, endpoints, CALIBRATION_S, CALIBRATION_RPS, *pinning())
    ceilings = {client.protocol: client.ceiling_rps for client in clients}
    command = " ".join(("python -m loadtest slo", *words))
    rates: list[Rate] = []
    grids = {server.name: server.server.grid[: 1 if options.no_tuning else None] for server in servers if server.server}
    total = sum(len(server.endpoints) * len(grids[server.name]) for server in servers)
    with tqdm(total=total, desc="slo", unit="search", file=sys.stderr, dynamic_ncols=True) as bar:
        for server in servers:
            before = list(rates)
            for rows in _search_server(server, grids[server.name], ceilings, wish, bar):
                rates = [*before, *rows]
                _write(rates, wish, command, [asdict(client) for client in clients])
    print(to_markdown(table(rates, wish)))
    print(f"\nresults: {shown(FOLDER / 'slo.json')}; `make report` shows them")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest slo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target-ms", type=float, default=5.0, help="p99 from the intended send")
    parser.add_argument("--servers", nargs="*", default=(), metavar="NAME", help="all by default")
    parser.add_argument("--only", nargs="*", default=(), metavar="ENDPOINT", help="endpoints by name, or its beginning")
    parser.add_argument("--no-tuning", action="store_true", help="the default settings only")
    parser.add_argument("--seed", type=int, default=1)
    rate, price = (float(os.environ.get(name) or 0) for name in ("RATE", "PRICE"))
    parser.add_argument("--rate", type=float, default=rate, help="requests/s that replicas are to carry together")
    parser.add_argument("--price", type=float, default=price, help="of a vCPU for an hour, for the cost of answers")
    return parser


def _search_server(
    server: ManagedServer, grid: Sequence[Settings], ceilings: Mapping[str, float], wish: Wish, bar: tqdm[Any]
) -> Iterator[list[Rate]]:
    """Each endpoint's rate by default, and the best of the grid so far, after each of its settings."""
    defaults: dict[str, Rate] = {}
    best: dict[str, Rate] = {}
    for number, settings in enumerate(grid):
        bar.set_postfix_str(f"{server.name} {describe(settings, grid[0])}")
        above = {name: rate.rate_rps or 0.0 for name, rate in best.items()}
        results = _search(replace(server, settings=settings), number, ceilings, wish, above)
        bar.update(len(results))
        for name, result in results.items():
            rate = rate_of(name, describe(settings, grid[0]), result, wish)
            if number == 0:
                defaults[name] = rate
                best[name] = replace(rate, settings="tuned")
            elif (rate.rate_rps or 0.0) > (best[name].rate_rps or 0.0):
                best[name] = replace(rate, settings="tuned")
        yield [*defaults.values(), *(best.values() if number else ())]


def _search(
    server: ManagedServer, number: int, ceilings: Mapping[str, float], wish: Wish, above: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Start the server with its settings and search every endpoint's rate."""
    server_cpus, client_cpus = pinning()
    paths = {e.name: FOLDER / e.name.replace("/", "__") / f"settings-{number}.json" for e in server.endpoints}
    with running(server, FOLDER, server_cpus) as ready:
        for index, endpoint in enumerate(server.endpoints):
            path = paths[endpoint.name]
            path.unlink(missing_ok=True)
            seed = wish.seed * 100_000 + index * 1000
            search = Search(str(path), seed, ceilings[endpoint.protocol], above.get(endpoint.name, 0.0))
            plan = EndpointPlan(ready.endpoints[endpoint.name], (), ready.pid, WARM_UP_S, wish.target_ms, search=search)
            run_generator(FOLDER, [plan], client_cpus)
    return {name: json.loads(path.read_bytes()) for name, path in paths.items()}


def rate_of(name: str, setting: str, result: Mapping[str, Any], wish: Wish) -> Rate:
    """The report's row of a search: with replicas and cost where they are asked for."""
    rate, cpu = result["rate_rps"], result["cpu_share"]
    replicas = math.ceil(wish.rate_rps / (rate * (1 - HEADROOM))) if rate and wish.rate_rps else None
    cost = None
    if rate and cpu is not None and wish.price_per_vcpu_hour:
        cores = math.ceil(cpu) if cpu > 1 else 1  # a replica pays for whole cores, busy or not
        cost = cores * wish.price_per_vcpu_hour / 3600 * 1e6 / (rate * (1 - HEADROOM))
    keys = ("rate_rps", "goodput_rps", "p99_ms", "cpu_share", "rss_bytes", "confirmed", "client_limited", "reason")
    figures = {key: result[key] for key in keys}
    return Rate(name=name, settings="default", setting=setting, replicas=replicas, cost_per_million=cost, **figures)


def _write(rates: Sequence[Rate], wish: Wish, command: str, clients: Sequence[Mapping[str, Any]]) -> None:
    rows = Rates(
        target_ms=wish.target_ms,
        percentile="p99 from the intended send",
        command=command,
        rates=tuple(rates),
        asked_rps=wish.rate_rps or None,
        headroom=HEADROOM,
        price_per_vcpu_hour=wish.price_per_vcpu_hour or None,
    )
    fields = {"rates": asdict(rows), "environment": environment(*pinning()), "clients": clients}
    write_whole(FOLDER / "slo.json", to_json(fields).encode())


def describe(settings: Settings, default: Settings) -> str:
    """What differs from the server's defaults, e.g. `threads=2`."""
    usual = asdict(default)
    changed = [f"{key}={value}" for key, value in asdict(settings).items() if value != usual[key]]
    return ", ".join(changed) or "defaults"


def table(rates: Sequence[Rate], wish: Wish) -> Table:
    """The rates, default and tuned side by side."""
    by_name: dict[str, dict[str, Rate]] = {}
    for rate in rates:
        by_name.setdefault(rate.name, {})[rate.settings] = rate
    heads = ("Endpoint", f"Requests/s, p99 ≤ {wish.target_ms:g} ms", "Goodput", "p99, ms", "CPU", "Memory, MB", "Tuned")
    numeric = tuple(Column(head, index > 0) for index, head in enumerate(heads))
    more = (Column("Its settings"), Column("Replicas", True), Column("Cost per million", True))
    rows = []
    for name, pair in sorted(by_name.items()):
        default = pair["default"]
        tuned = pair.get("tuned", default)
        memory = default.rss_bytes and default.rss_bytes / 1e6
        cells = [name, shown_rate(default), _cell(default.goodput_rps, "{:,.1f}"), _cell(default.p99_ms, "{:.2f}")]
        cells += [_cell(default.cpu_share, "{:.2f}"), _cell(memory, "{:.0f}"), shown_rate(tuned), tuned.setting]
        rows.append(row(*cells, _cell(tuned.replicas, "{:d}"), _cell(tuned.cost_per_million, "{:.3g}")))
    note = f"Replicas carry {wish.rate_rps:g} requests/s together, each with {HEADROOM:.0%} of its rate left free."
    return Table("slo", "Highest rates", (*numeric, *more), tuple(rows), note=note if wish.rate_rps else "")


def shown_rate(rate: Rate) -> str:
    """A rate as the table has it, or why there is none."""
    if rate.rate_rps is None:
        return f"< {LOWEST_RPS:g}" if rate.reason.startswith(MISSED) else f"n/a ({rate.reason})"
    mark = "" if rate.confirmed else " (not confirmed)"
    figure = f"{rate.rate_rps:,.0f}" if rate.rate_rps >= 100 else f"{rate.rate_rps:.3g}"
    return f"{'≥ ' if rate.client_limited else ''}{figure}{mark}"


def _cell(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)
