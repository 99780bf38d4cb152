"""How the report prints figures: three significant digits, a unit, and `n/a` where nothing was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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


def with_unit(value: float | None, unit: str) -> str:
    """Print a figure and its unit; no unit where nothing was measured."""
    return NOT_MEASURED if value is None else f"{significant(value)} {unit}"


def interval(bounds: Sequence[float | None] | None) -> str:
    """Print a confidence interval, `4,180 to 4,260`; nothing where there is none."""
    if not bounds or any(bound is None for bound in bounds):
        return ""
    low, high = (significant(bound) for bound in bounds)
    return f"{low} to {high}"


def percentile(scenario: Mapping[str, Any], name: str) -> str:
    """Print a latency percentile in ms, or `n/a (needs N)` where the requests were too few to state it."""
    value = (scenario.get("latency_ms") or {}).get(name)
    if value is not None:
        return significant(value)
    needed = (scenario.get("needs") or (scenario.get("latency_ms") or {}).get("needs") or {}).get(name)
    return NOT_MEASURED if needed is None else f"{NOT_MEASURED} (needs {count(needed)})"


def plural(number: int, noun: str) -> str:
    """Print a number with its noun: `1 point`, `3 points`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
