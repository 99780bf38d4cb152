"""The report's opening words. Each sentence repeats a verdict; what no verdict holds is not said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.analysis.ranking import find_point
from loadtest.analysis.verdicts import between

OPENINGS = {
    "closed-32": "With 32 users {best} answers {times} times as many requests per second as {next}",
    "single_stream": "A single user waits {times} times as long for {next} as for {best}, at the median",
    "open": "Under the same open load {next} takes {times} times as long as {best} at {percentile}",
}

LAST = {
    "closed-32": ", and {times} times as many as {last}",
    "single_stream": ", and {times} times as long for {last}",
    "open": ", and {last} {times} times as long",
}
"""Said of the slowest that is told apart, where it is another than the next."""


def headline(
    endpoints: Sequence[dict[str, Any]], verdicts: Sequence[dict[str, Any]], comparison: Mapping[str, Any]
) -> list[str]:
    """The sentences that the report leads with."""
    found = [_problems(endpoints)]
    for scenario in OPENINGS:
        judged = [v for v in verdicts if v["scenario"] == scenario and v["outcome"] != "not_comparable"]
        if judged:
            found += [_best(judged, endpoints, scenario), _protocols(judged), _frameworks(judged)]
    if comparison["rounds"] < 2:
        found.append(
            "One round can't tell a difference from chance, so nothing is ranked: take `PROFILE=quick` or more."
        )
    found += [_engines(endpoints), _batching(endpoints), _left_out(endpoints)]
    return [sentence for sentence in found if sentence]


def _problems(endpoints: Sequence[dict[str, Any]]) -> str:
    points = [point for endpoint in endpoints for point in endpoint["scenarios"]]
    failures, wrong = (sum(point[key] for point in points) for key in ("failures", "wrong_answers"))
    requests = sum(point["requests"] for point in points)
    if failures or wrong:
        return f"Of {requests:,} requests {failures:,} failed and {wrong:,} were answered wrongly."
    return f"All {requests:,} requests to {len(endpoints)} endpoints were answered, and every answer was right."


def _best(judged: Sequence[dict[str, Any]], endpoints: Sequence[dict[str, Any]], scenario: str) -> str:
    """The best endpoint, those that are not told apart from it, and the best and the slowest of those that are."""
    names = {name for verdict in judged for name in (verdict["a"], verdict["b"])}
    metric = judged[0]["metric"]
    means = {e["name"]: _mean(e, scenario, metric) for e in endpoints if e["name"] in names}
    ordered = sorted(means, key=lambda name: means[name], reverse=metric.endswith("rps"))
    best, rest = ordered[0], ordered[1:]
    tied = [name for name in rest if _outcome(judged, best, name) == "no_difference"]
    beaten = [name for name in rest if _outcome(judged, best, name) == "best"]
    ranked = "" if len(names) == len(endpoints) else f" {len(names)} of {len(endpoints)} endpoints can be ranked here."
    if not beaten:
        return f"{_title(scenario)}no difference is seen between {_list([best, *tied])}.{ranked}"
    times = between(*_times(judged, best, beaten[0]))
    words = OPENINGS[scenario].format(best=best, times=times, next=beaten[0], percentile=metric.removesuffix("_ms"))
    if len(beaten) > 1:
        words += LAST[scenario].format(times=between(*_times(judged, best, beaten[-1])), last=beaten[-1])
    return words + (f"; no difference is seen between {best} and {_list(tied)}." if tied else ".") + ranked


def _protocols(judged: Sequence[dict[str, Any]]) -> str:
    """gRPC against REST with JSON on the same server and artifact, where all such pairs say the same."""
    pairs = [v for v in judged if _differ_in(v, 2) == {"rest", "grpc"}]
    return _uniform(pairs, judged, "gRPC", "REST with JSON", lambda name: name.endswith("/grpc"))


def _frameworks(judged: Sequence[dict[str, Any]]) -> str:
    """TensorFlow's against PyTorch's weights in the same format, server and protocol."""
    pairs = [
        v
        for v in judged
        if (names := _differ_in(v, 1)) and len(names) == 2 and len({name.partition("-")[2] for name in names}) == 1
    ]
    if pairs and all(v["outcome"] == "no_difference" for v in pairs):
        return (
            f"{_title(judged[0]['scenario'])}which framework trained the network makes no difference that is seen, "
            f"in {len(pairs)} of {len(pairs)} pairs of the same format, server and protocol."
        )
    return ""


def _uniform(
    pairs: Sequence[dict[str, Any]], judged: Sequence[dict[str, Any]], first: str, second: str, is_first: Any
) -> str:
    if len(pairs) < 2:
        return ""
    wins = sum(_winner(v) is not None and is_first(_winner(v)) for v in pairs)
    losses = sum(_winner(v) is not None and not is_first(_winner(v)) for v in pairs)
    same = len(pairs) - wins - losses
    what = "more requests per second" if judged[0]["metric"] == "throughput_rps" else "shorter latency"
    said = [f"{first} has {what} than {second} on {wins} of {len(pairs)} pairs of server and artifact"]
    if losses:
        said.append(f"{second} on {losses}")
    if same:
        said.append(f"no difference is seen on {same}")
    return f"{_title(judged[0]['scenario'])}{', '.join(said)}."


def _engines(endpoints: Sequence[dict[str, Any]]) -> str:
    if any(e["server"] == "tfserving" and e["engine"] == "embedded" for e in endpoints):
        return (
            "tfserving ran as engine: embedded, our stand-in that hosts the SavedModel behind TensorFlow Serving's "
            "protocols; its figures are not those of tensorflow_model_server."
        )
    return ""


def _batching(endpoints: Sequence[dict[str, Any]]) -> str:
    """Which servers put waiting requests into one batch, where some did and others did not."""
    sizes = {e["server"]: e["settings"]["max_batch_size"] for e in endpoints if e.get("settings")}
    alone = sorted(server for server, size in sizes.items() if size == 1)
    others = sorted(server for server in sizes if server not in alone)
    if not alone or not others:
        return ""
    most = max(sizes.values())
    return (
        f"{_list(others)} ran up to {most} waiting requests in one batch, {_list(alone)} one at a time, as they were "
        "set: the settings are below, and `make slo` compares tuned ones."
    )


def _left_out(endpoints: Sequence[dict[str, Any]]) -> str:
    points = [point for endpoint in endpoints for point in endpoint["scenarios"]]
    invalid = [point for point in points if point["validity"] != "VALID"]
    limited = sum(point["client_limited"] for point in invalid)
    if not invalid:
        return ""
    return f"{len(invalid)} of {len(points)} points are INVALID ({limited} client-limited): shown, marked, not ranked."


def _mean(endpoint: dict[str, Any], scenario: str, metric: str) -> float:
    point = find_point(endpoint, scenario)
    assert point is not None
    return float(np.mean([run[metric] for run in point["runs"]]))


def _verdict(judged: Sequence[dict[str, Any]], one: str, other: str) -> dict[str, Any] | None:
    return next((v for v in judged if {v["a"], v["b"]} == {one, other}), None)


def _outcome(judged: Sequence[dict[str, Any]], best: str, other: str) -> str:
    verdict = _verdict(judged, best, other)
    if verdict is None or verdict["outcome"] == "no_difference":
        return "no_difference" if verdict else ""
    return "best" if _winner(verdict) == best else "other"


def _winner(verdict: dict[str, Any]) -> str | None:
    winners = {"a_better": verdict["a"], "b_better": verdict["b"]}
    return winners.get(verdict["outcome"])


def _times(judged: Sequence[dict[str, Any]], best: str, other: str) -> tuple[float, float]:
    """How many times better the best is, as an interval above one."""
    verdict = _verdict(judged, best, other)
    assert verdict is not None
    low, high = verdict["ratio_low"], verdict["ratio_high"]
    return (low, high) if low > 1 else (1 / high, 1 / low)


def _differ_in(verdict: dict[str, Any], part: int) -> set[str]:
    """The two values of one part of the names (0 server, 1 artifact, 2 protocol) where all other parts agree, else
    nothing.
    """
    a, b = verdict["a"].split("/"), verdict["b"].split("/")
    return {a[part], b[part]} if a[:part] + a[part + 1 :] == b[:part] + b[part + 1 :] else set()


def _title(scenario: str) -> str:
    return {"closed-32": "With 32 users ", "single_stream": "For a single user ", "open": "Under the same open load "}[
        scenario
    ]


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
