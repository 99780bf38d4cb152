"""Prints the figures of the end-to-end test as the tables of k8s/README.md: `python -m k8s.figures FIGURES`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def tables(figures: dict[str, Any]) -> str:
    """The figures in Markdown: a table of the servers, a line for each of the other tests."""
    return "\n".join([*server_table(figures), "", *image_line(figures), *other_lines(figures)])


def server_table(figures: dict[str, Any]) -> list[str]:
    """A row per server: image, Ready, rolling update, kill."""
    lines = [
        "| server | image, MB | Ready after, s | rolling update: requests, lost, wrong | new one Ready after, s "
        "| old one gone after, s | `kill -9`: requests, lost, wrong | Ready again after, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for server, ready_s in sorted(figures["ready_s"].items()):
        update, kill = (figures.get(name, {}).get(server, {}) for name in ("rolling_update", "kill"))
        cells = [megabytes(figures.get("image_bytes", {}).get(server)), whole(ready_s)]
        cells += [counts(update), whole(update.get("ready_s")), whole(update.get("old_one_gone_s"))]
        cells += [counts(kill), whole(kill.get("ready_again_s"))]
        lines.append(f"| `{server}` | " + " | ".join(cells) + " |")
    return lines


def image_line(figures: dict[str, Any]) -> list[str]:
    """The images that are no server's."""
    others = {name: size for name, size in figures.get("image_bytes", {}).items() if name not in figures["ready_s"]}
    sizes = ", ".join(f"`{name}` {megabytes(size)} MB" for name, size in sorted(others.items()))
    return [f"- Other images: {sizes}."] if sizes else []


def other_lines(figures: dict[str, Any]) -> list[str]:
    """A line for each of the other tests that has figures, and one for each twin's training."""
    lines = [line(figures[name]) for name, line in LINES.items() if name in figures]
    for twin, run in sorted(figures.get("training", {}).items()):
        lines.append(
            f"- Training, {twin}: {run['workers']} workers, {run['images']:,} images, {run['seconds']:.0f} s of steps, "
            f"{run['from_nothing_s']:.0f} s from nothing to the model copied out, "
            f"test accuracy {run['test_accuracy']:.2%}."
        )
    return lines


def load_line(load: dict[str, Any]) -> str:
    """The load test."""
    return (
        f"- Load test, master and two workers: {load['endpoints']} endpoints in {load['runs']} runs, "
        f"{load['requests']:,} requests, none failed, none wrong, {load['seconds']:.0f} s."
    )


def broken_line(sums: dict[str, Any]) -> str:
    """The broken version."""
    return f"- Broken version (wrong sha256) of every server under load: {counts(sums)}; none became Ready."


def drain_line(figures: dict[str, Any]) -> str:
    """The node drain."""
    return f"- Node drain held by the disruption budget: {counts(figures)}; pods that stayed: {figures['pods_left']}."


def autoscaling_line(figures: dict[str, Any]) -> str:
    """The autoscaler, up and down."""
    return (
        f"- Autoscaling of `onnxruntime`: a second pod Ready {figures['up_s']:.0f} s after the load began, "
        f"{figures['most_pods']} then, one again {figures['down_s']:.0f} s after it ended."
    )


def page_line(figures: dict[str, Any]) -> str:
    """Locust's page."""
    return (
        f"- Locust's page with two workers: Ready after {figures['ready_s']:.0f} s; "
        f"{figures['requests']:,} requests from it, none failed."
    )


def counts(sums: dict[str, int]) -> str:
    """Requests, failures and wrong answers; n/a where nothing was measured."""
    return f"{sums['requests']:,}, {sums['failures']}, {sums['wrong_answers']}" if sums else "n/a"


def whole(value: float | None) -> str:
    """A figure without its fraction."""
    return "n/a" if value is None else f"{value:.0f}"


def megabytes(size: float | None) -> str:
    """Bytes as megabytes."""
    return whole(None if size is None else size / 1e6)


LINES = {
    "loadtest": load_line,
    "page": page_line,
    "broken_version": broken_line,
    "drain": drain_line,
    "autoscaling": autoscaling_line,
}

if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text())))
