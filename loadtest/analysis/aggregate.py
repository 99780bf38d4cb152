"""One endpoint's part of the report: its runs put together by scenario, with percentiles, intervals and validity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.analysis.intervals import QUANTILES, order_interval, quantile, ratio_interval, requests_needed
from loadtest.analysis.validity import judge_rounds, judge_run
from loadtest.raw_times import RIGHT, read_raw

Result = dict[str, Any]


def describe_endpoint(name: str, results: Sequence[Result], clients: Sequence[Result]) -> dict[str, Any]:
    """The report's entry for one endpoint: its results over all scenarios and rounds."""
    by_protocol = {client["protocol"]: client for client in clients}
    scenarios = list(dict.fromkeys(result["scenario_name"] for result in results))
    cold = [result["cold_start"] for result in results if result.get("cold_start")]
    used = [result for result in results if "server" in result]
    last = results[-1]
    return {
        "name": name,
        **{key: last["endpoint"][key] for key in ("server", "engine", "artifact", "protocol")},
        "settings": last.get("settings"),
        **{key: _median([found.get(key) for found in cold]) for key in ("live_s", "ready_s", "first_answer_s")},
        "warm_up_s": _median([result.get("warm_up_s") for result in used]),
        "peak_rss_bytes": max((r["server"]["peak_rss_bytes"] or 0 for r in used), default=0) or None,
        "steady_rss_bytes": _median([result["server"]["rss_bytes"] for result in used]),
        **{key: _whole(_first(used, key)) for key in ("request_bytes", "request_wire_bytes", "response_bytes")},
        "samples_sha256": _first(used, "samples_sha256"),
        "threads": _first([result["server"] for result in used], "threads"),
        "scenarios": [
            describe_scenario([r for r in results if r["scenario_name"] == s], by_protocol) for s in scenarios
        ],
    }


def describe_scenario(results: Sequence[Result], clients: dict[str, Result]) -> dict[str, Any]:
    """One scenario of one endpoint: rounds put together. Percentiles come from the raw latencies of all rounds."""
    judgements = [judge_run(result, clients) for result in results]
    whole = judge_rounds(judgements)
    made = [result for result in results if "requests" in result]
    fields: dict[str, Any] = {
        "name": results[0]["scenario_name"],
        "rounds": len(results),
        "requests": sum(result["requests"] for result in made),
        "failures": sum(result["failures"] for result in made),
        "wrong_answers": sum(result["wrong_answers"] for result in made),
        "validity": whole.validity,
        "reasons": list(whole.reasons),
        "client_limited": whole.client_limited,
        "explanations": [text for result in made for text in result["explanations"]][:5],
    }
    return {**fields, **(_figures(made) if made else {"runs": [], "latency_ms": {}, "throughput_rps": None})}


def _figures(made: Sequence[Result]) -> dict[str, Any]:
    scenario = made[0]["scenario"]
    tables = [read_raw(result["raw"]) for result in made]
    latencies = [_latency_ms(table, "intended_us") for table in tables]
    pooled = np.sort(np.concatenate(latencies))
    answers = sum(result["requests"] - result["failures"] for result in made)
    throughputs = [result["throughput_rps"] for result in made]
    runs = [_run(result, np.sort(latency)) for result, latency in zip(made, latencies, strict=True)]
    opened = made[0]["latency_from_send_ms"] is not None
    return {
        "users": scenario["users"],
        "rate_rps": min((r["scenario"]["rate_rps"] for r in made), default=None) if opened else None,
        "rate_asked_rps": made[0].get("rate_asked_rps"),
        "seconds": scenario["seconds"],
        "batch": made[0]["batch"],
        "throughput_rps": float(np.mean(throughputs)),
        "throughput_ci_rps": _interval(throughputs),
        "samples_per_s": float(np.mean(throughputs)) * made[0]["batch"],
        "goodput_rps": float(np.mean([result["goodput_rps"] for result in made])),
        "target_ms": made[0]["target_ms"],
        **percentiles(pooled),
        "latency_ci_ms": {name: _percentile_interval(name, runs, pooled) for name in QUANTILES},
        "latency_from_send_ms": percentiles(_from_send(tables))["latency_ms"] if opened else None,
        "schedule_lag_p99_ms": max(result["schedule_lag_ms"]["p99"] or 0.0 for result in made) if opened else None,
        "latency_quantiles_ms": [quantile(pooled, step / 100) for step in range(101)] if len(pooled) else None,
        "cpu_s_per_1000": _per_1000(made, "cpu_s", answers),
        "context_switches_per_1000": _per_1000(made, "context_switches", answers),
        "throttled_s": _total(made, "throttled_s"),
        "client_cpu_share": max(result["client"]["cpu_share"] for result in made),
        "latency_split": _split([result["latency_split"] for result in made if result.get("latency_split")]),
        "runs": runs,
    }


def _split(splits: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """Where the time went, as the server told it: the mean over the rounds."""
    if not splits:
        return None
    return {key: float(np.mean([split[key] for split in splits])) for key in splits[0]}


def percentiles(ordered: np.ndarray) -> dict[str, Any]:
    """`latency_ms` with each percentile that so many requests can state, else None, and `needs` with what those would
    need.
    """
    stated: dict[str, float | None] = {}
    needs = {}
    for name, share in QUANTILES.items():
        enough = len(ordered) >= requests_needed(share)
        stated[name] = quantile(ordered, share) if enough else None
        if not enough:
            needs[name] = requests_needed(share)
    stated["max"] = float(ordered[-1]) if len(ordered) else None
    return {"latency_ms": stated, **({"needs": needs} if needs else {})}


def _run(result: Result, ordered: np.ndarray) -> dict[str, Any]:
    stated = percentiles(ordered)["latency_ms"]
    return {
        "round": result["round"],
        "requests": result["requests"],
        "throughput_rps": result["throughput_rps"],
        "goodput_rps": result["goodput_rps"],
        **{f"{name}_ms": stated[name] for name in QUANTILES},
    }


def _percentile_interval(name: str, runs: Sequence[Result], pooled: np.ndarray) -> list[float] | None:
    """Student's interval over the rounds' own percentiles; with one round, the order statistics of its requests."""
    values = [run[f"{name}_ms"] for run in runs]
    if len(runs) == 1:
        found = order_interval(pooled, QUANTILES[name]) if values[0] is not None else None
        return list(found) if found else None
    return None if any(value is None for value in values) else _interval(values)


def _interval(values: list[float]) -> list[float] | None:
    found = ratio_interval(values)
    return list(found) if found else None


def _latency_ms(table: dict[str, np.ndarray], since: str) -> np.ndarray:
    latency_ms = (table["done_us"] - table[since]) / 1e3
    right: np.ndarray = latency_ms[table["outcome"] == RIGHT]
    return right


def _from_send(tables: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    return np.sort(np.concatenate([_latency_ms(table, "sent_us") for table in tables]))


def _total(made: Sequence[Result], key: str) -> float | None:
    values = [result["server"][key] for result in made]
    return None if any(value is None for value in values) else sum(values)


def _per_1000(made: Sequence[Result], key: str, answers: int) -> float | None:
    total = _total(made, key)
    return None if total is None or not answers else total / answers * 1000


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _first(found: Sequence[Result], key: str) -> Any:
    return next((result[key] for result in found if result.get(key) is not None), None)


def _whole(size: float | None) -> int | None:
    """A mean size in whole bytes."""
    return None if size is None else round(size)
