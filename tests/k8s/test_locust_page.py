"""Locust's own page in the cluster: it comes up with its workers, and a load started there is answered without a fault.

Part of `make test-k8s`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8s.cluster import NAMESPACE, Cluster, render
from k8s.deploy import load_images, mark_images, wait_ready

pytestmark = pytest.mark.cluster
FOLDER = Path(__file__).parent / "variants" / "loadtest-web"
PAGE = f"http://loadtest-web.{NAMESPACE}:8089"
WORKERS, USERS, ENOUGH = 2, 4, 2000


def ask(tool: str, path: str, *form: str) -> str:
    """What the page answers, from within the cluster's network; with a form it is posted."""
    fields = [word for field in form for word in ("-d", field)]
    argv = (tool, "exec", "curl", "-fsS", "-m", "10", *fields, PAGE + path)
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


def stats(tool: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 60) -> dict[str, Any]:
    """What the page counts, as soon as `holds` does."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        figures: dict[str, Any] = json.loads(ask(tool, "/stats/requests"))
        if holds(figures):
            return figures
        assert time.monotonic() < deadline_s, figures
        time.sleep(0.5)


def total(figures: dict[str, Any], key: str) -> int:
    return int(next(row[key] for row in figures["stats"] if row["name"] == "Aggregated"))


def test_page_puts_load_on_every_server(
    cluster: Cluster, tool: str, deployed: dict[str, float], report: Callable[..., None]
) -> None:
    objects = render(FOLDER)
    mark_images(objects, load_images(tool, objects))
    try:
        cluster.apply(objects)
        names = [item["metadata"]["name"] for item in objects if item["kind"] == "Deployment"]
        ready_s = wait_ready(cluster, names, time.monotonic(), 90)
        assert "<title>Locust</title>" in ask(tool, "/")
        stats(tool, lambda figures: len(figures["workers"]) == WORKERS)
        ask(tool, "/swarm", f"user_count={USERS}", f"spawn_rate={USERS}")
        figures = stats(tool, lambda figures: total(figures, "num_requests") >= ENOUGH)
        ask(tool, "/stop", "by=test")
    finally:
        cluster.delete(FOLDER)
    report(page={"ready_s": max(ready_s.values()), "requests": total(figures, "num_requests")})
    assert total(figures, "num_failures") == 0, figures["errors"]
