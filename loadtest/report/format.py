"""How the report prints figures: three significant digits, a unit, and `n/a` where nothing was measured."""

from __future__ import annotations

import math

from loadtest.analysis.figures import Estimate, Point

NOT_MEASURED = "n/a"


def significant(value: float | None, digits: int = 3) -> str:
    """Print `value` with `digits` significant digits: 0.412, 41.2, 4,120; exponents only below 0.001."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def count(value: int | None) -> str:
    """Print a whole number exactly: 12,345."""
    return NOT_MEASURED if value is None else f"{value:,}"


def size(value: float | None) -> str:
    """Print bytes in the decimal unit that fits: 812 B, 3.14 kB, 11.1 MB."""
    if value is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= factor:
            return f"{significant(value / factor)} {unit}"
    return f"{value:.0f} B"


def percent(value: float | None, decimals: int = 2) -> str:
    """Print a share of 0…1 as per cent."""
    return NOT_MEASURED if value is None else f"{100 * value:.{decimals}f} %"


def interval(estimate: Estimate | None) -> str:
    """Print a confidence interval, `4,180 to 4,260`; nothing where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{significant(estimate.low)} to {significant(estimate.high)}"


def percentile(point: Point, name: str) -> str:
    """Print a latency percentile in ms, or `n/a (needs N)` where the requests were too few to state it."""
    estimate = latency(point, name)
    if estimate is not None:
        return significant(estimate.value)
    return f"{NOT_MEASURED} (needs {count(point.needs[name])})" if name in point.needs else NOT_MEASURED


def latency(point: Point, name: str) -> Estimate | None:
    """The estimate of the percentile `p50`, `p90`, `p95` or `p99`; None where it can't be stated."""
    return {"p50": point.p50_ms, "p90": point.p90_ms, "p95": point.p95_ms, "p99": point.p99_ms}[name]


def figure(kind: str, value: float | None) -> str:
    """Print a figure by its name in a ranking, `throughput_rps` and so on, with its unit."""
    if value is None:
        return NOT_MEASURED
    if kind.endswith("_bytes"):
        return size(value)
    units = {"throughput_rps": "/s", "cpu_s_per_1000": " s", "cost_per_million": ""}
    if kind in units:
        return significant(value) + units[kind]
    return significant(value) + next((f" {unit}" for unit in ("ms", "s") if kind.endswith(f"_{unit}")), "")


def plural(number: int, noun: str) -> str:
    """Print a number with its noun: `1 point`, `3 points`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
