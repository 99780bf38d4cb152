"""The dashboard's and the adapter's queries against what each server really answers on its metrics page.

`metrics/<server>.txt` was taken from the servers on a cluster under load, `kubelet.txt` from its kubelet.
Names of metrics and labels are checked; no Prometheus evaluates the queries here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from contract import ROOT
from serving.server import list_servers

COMPONENTS = ROOT / "k8s" / "components"
DASHBOARD = json.loads((COMPONENTS / "monitoring" / "serving.json").read_text())
PAGES = {path.stem: path.read_text() for path in (Path(__file__).parent / "metrics").glob("*.txt")}
SCRAPED = {"app_kubernetes_io_name", "namespace", "pod"}
"""Labels that the scrape job adds (components/monitoring/prometheus.yaml)."""
ON_ERRORS = {"Requests4XX", "Requests5XX"}
"""TorchServe's counters that exist from the first error on."""
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def series() -> dict[str, set[str]]:
    """The labels of every series of all pages, by its name."""
    labels_of: dict[str, set[str]] = {}
    for page in PAGES.values():
        for name, labels in re.findall(r"^([\w:]+)(\{.*\})? [-+.\w]+", page, re.MULTILINE):
            labels_of.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return labels_of


def selected(query: str) -> dict[str, set[str]]:
    """The metrics that a query asks for, each with the labels it matches on."""
    names = re.findall(r"rate\(([\w:]+)(\{[^}]*\})?\[|\(([\w:]+)(\{[^}]*\})\)", query)
    return {a or c: set(re.findall(r"(\w+)\s*(?:=|!=|=~)\s*\"", b + d)) for a, b, c, d in names}


def grouped(query: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}


def test_there_is_a_page_of_every_server() -> None:
    assert set(PAGES) == {*list_servers(), "kubelet"}


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_query_asks_for_series_that_exist(title: str, query: str) -> None:
    assert selected(query), query
    known = series()
    for name, labels in selected(query).items():
        if name not in ON_ERRORS:
            assert name in known, name
            assert labels - SCRAPED <= known[name], name
            assert grouped(query) - SCRAPED <= known[name], name


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_query_takes_growing_sums_by_their_rate_only(title: str, query: str) -> None:
    growing = [name for name in selected(query) if not name.startswith("container_memory")]
    assert all(f"rate({name}" in query for name in growing)


def test_every_server_is_on_the_dashboard() -> None:
    text = json.dumps(DASHBOARD)
    assert all(prefix in text for prefix in ("oip_requests_total", ":tensorflow:serving:request_count", "ts_inference"))


def test_adapter_rules_ask_for_series_that_exist() -> None:
    rules = yaml.safe_load((COMPONENTS / "autoscaling-queue" / "adapter-rules.yaml").read_text())["rules"]
    for rule in rules:
        names = set(re.findall(r"rate\(([\w:]+)\{", rule["metricsQuery"]))
        assert names
        assert names <= series().keys()
        assert rule["name"]["as"] == "serving_queue_wait_milliseconds"
