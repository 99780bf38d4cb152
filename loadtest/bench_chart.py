"""The chart of the servers' benchmark: requests per second at the most connections, one bar each, as SVG."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LEFT, BAR, GAP = 720, 150, 18, 6
COLORS = {"json": "#4c78a8", "binary": "#f58518", "grpc": "#54a24b"}


def draw(rows: list[dict[str, Any]]) -> str:
    """Bars by payload, the longest first; readable on light and dark."""
    most = max((row["connections"] for row in rows), default=0)
    parts: list[str] = []
    top = 30
    for payload, color in COLORS.items():
        shown = [row for row in rows if row["payload"] == payload and row["connections"] == most]
        if not shown:
            continue
        title = f"{payload}, {most} connections, requests per second"
        parts.append(f'<text x="8" y="{top}" font-weight="bold">{title}</text>')
        top += 10
        longest = max(row["requests_per_s"] for row in shown) or 1
        for row in sorted(shown, key=lambda row: -row["requests_per_s"]):
            length = max(1.0, row["requests_per_s"] / longest * (WIDTH - LEFT - 90))
            middle = top + BAR * 0.75
            parts += [
                f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(row["name"])}</text>',
                f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{color}"/>',
                f'<text x="{LEFT + length + 6:.1f}" y="{middle}">{row["requests_per_s"]:,.0f}</text>',
            ]
            top += BAR + GAP
        top += 30
    style = "<style>text{font:13px system-ui,sans-serif;fill:#777}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
    return head + style + "".join(parts) + "</svg>\n"
