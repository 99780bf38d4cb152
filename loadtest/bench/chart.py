"""The chart of the servers' benchmark as SVG: a panel for each payload, requests per second and latency side by side.

It follows the reader's colour scheme and paints its own ground, so that it can be read wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

WIDTH, LEFT, BARS, LATENCY, SPAN = 860, 150, 300, 560, 210
ROW, BAR = 24, 14
MOST, ONE = 32, 1
OURS = ("ours", "tflite", "tfserving", "tfserving-batching")
YARDSTICKS = ("ceiling", "uvicorn", "grpc-echo")
TITLES = {"json": "JSON", "binary": "Binary tensors", "grpc": "gRPC"}
STYLE = """
:root{--ground:#fff;--ink:#1f2328;--faint:#59636e;--line:#d1d9e0;--ours:#0969da;--other:#8c959f;--yardstick:#bf8700}
@media(prefers-color-scheme:dark){:root{--ground:#0d1117;--ink:#f0f6fc;--faint:#9198a1;--line:#3d444d;--ours:#4493f8;
--other:#656c76;--yardstick:#d29922}}
.ground{fill:var(--ground)}text{font:13px system-ui,sans-serif;fill:var(--ink)}.title{font-weight:600;font-size:14px}
.faint{fill:var(--faint);font-size:11px}.grid{stroke:var(--line)}.ours{fill:var(--ours);stroke:var(--ours)}
.other{fill:var(--other);stroke:var(--other)}.yardstick{fill:var(--yardstick);stroke:var(--yardstick)}
"""


def draw(rows: Iterable[Mapping[str, Any]]) -> str:
    """The whole chart, from the rows whose answers our own generator checked."""
    shown = [row for row in rows if row["generator"] == "own" and not row["name"].startswith("ours-")]
    single = {(row["name"], row["payload"]): row for row in shown if row["connections"] == ONE}
    ticks = _ticks([row[key] for row in single.values() for key in ("p50_ms", "p99_ms")])
    parts, top = _legend(), 58
    for payload, title in TITLES.items():
        panel = [row for row in shown if row["payload"] == payload and row["connections"] == MOST]
        if panel:
            panel.sort(key=lambda row: -row["requests_per_s"])
            parts += _panel(title, panel, single, ticks, top)
            top += 46 + ROW * len(panel) + 22
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" '
    head += 'aria-label="Requests per second and latency of the servers">'
    ground = f'<rect class="ground" width="{WIDTH}" height="{top}"/>'
    return f"{head}<style>{STYLE}</style>{ground}{''.join(parts)}</svg>\n"


def _legend() -> list[str]:
    said = (("ours", "servers of this project"), ("yardstick", "yardsticks, no servers"), ("other", "others"))
    parts, left = [], 16
    for kind, words in said:
        parts.append(f'<rect class="{kind}" x="{left}" y="16" width="12" height="12"/>')
        parts.append(f'<text x="{left + 18}" y="27">{words}</text>')
        left += 40 + 7 * len(words)
    return parts


def _panel(
    title: str,
    rows: list[Mapping[str, Any]],
    single: Mapping[tuple[str, str], Mapping[str, Any]],
    ticks: list[float],
    top: int,
) -> list[str]:
    below = top + 46 + ROW * len(rows)
    parts = [
        f'<text class="title" x="16" y="{top + 14}">{title}</text>',
        f'<text class="faint" x="{LEFT}" y="{top + 14}">requests per second, {MOST} connections</text>',
        f'<text class="faint" x="{LATENCY}" y="{top + 14}">p50 (dot) to p99 in ms, 1 connection</text>',
    ]
    for tick in ticks:
        at = _place(tick, ticks)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top + 36}" y2="{below}"/>')
        parts.append(f'<text class="faint" x="{at:.1f}" y="{top + 32}" text-anchor="middle">{tick:g}</text>')
    longest = max(row["requests_per_s"] for row in rows) or 1
    for number, row in enumerate(rows):
        middle = top + 52 + ROW * number
        parts += _line(row, single.get((row["name"], row["payload"])), longest, ticks, middle)
    return parts


def _line(
    row: Mapping[str, Any], single: Mapping[str, Any] | None, longest: float, ticks: list[float], middle: int
) -> list[str]:
    name = row["name"]
    kind = "ours" if name in OURS else "yardstick" if name in YARDSTICKS else "other"
    length = max(1.0, row["requests_per_s"] / longest * BARS)
    parts = [
        f'<text x="{LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2}" width="{length:.1f}" height="{BAR}"/>',
        f'<text x="{LEFT + length + 6:.1f}" y="{middle + 5}">{row["requests_per_s"]:,.0f}</text>',
    ]
    if single:
        start, end = _place(single["p50_ms"], ticks), _place(single["p99_ms"], ticks)
        text = f"{single['p50_ms']:.2f} / {single['p99_ms']:.2f}"
        parts += [
            f'<line class="{kind}" x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}" stroke-width="3"/>',
            f'<circle class="{kind}" cx="{start:.1f}" cy="{middle}" r="4.5"/>',
            f'<text class="faint" x="{LATENCY + SPAN + 10}" y="{middle + 4}">{text}</text>',
        ]
    return parts


def _ticks(values_ms: list[float]) -> list[float]:
    """The powers of ten, and their halves, that hold all values between the first and the last."""
    steps = [factor * 10.0**power for power in range(-3, 5) for factor in (1, 2, 5)]
    lowest, highest = min(values_ms, default=1.0), max(values_ms, default=1.0)
    first = max((n for n, step in enumerate(steps) if step <= lowest), default=0)
    last = min((n for n, step in enumerate(steps) if step >= highest), default=len(steps) - 1)
    return steps[first : max(last, first + 1) + 1]


def _place(value_ms: float, ticks: list[float]) -> float:
    share = math.log(max(value_ms, ticks[0]) / ticks[0]) / math.log(ticks[-1] / ticks[0])
    return LATENCY + SPAN * min(1.0, share)
