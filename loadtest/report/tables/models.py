"""Tables around the measurement: artifacts, training, clients, conformance, settings and environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.report import text as words
from loadtest.report.format import count, percent, significant, size
from loadtest.report.table import Cell, Column, Table

Report = Mapping[str, Any]


def _figure(value: float | None) -> Cell:
    return Cell(significant(value), value)


def artifacts_table(report: Report) -> Table | None:
    """Parity, accuracy and size of every artifact; what could not be exported stands below with the reason."""
    artifacts = report.get("artifacts") or []
    if not artifacts:
        return None
    columns = (
        Column("Artifact"),
        Column("Framework"),
        Column("Format"),
        Column("Size", True),
        Column("Test accuracy", True),
        Column("Largest difference", True, "largest absolute difference of a probability to the trained model"),
        Column("Same label", True),
        Column("Images", True),
        Column("Batch sizes"),
        Column("sha256"),
    )
    rows = tuple(_artifact_row(artifact) for artifact in artifacts)
    missing = tuple(
        (Cell(entry["name"], detail=entry.get("reason", "")), *[Cell("")] * 9)
        for entry in report.get("not_exported") or []
    )
    return Table(
        "artifacts",
        "Artifacts against the models they were made from",
        columns,
        rows,
        missing,
        unranked_title="Not exported",
    )


def _artifact_row(artifact: Mapping[str, Any]) -> tuple[Cell, ...]:
    difference, agreement = artifact.get("max_abs_diff"), artifact.get("label_agreement")
    samples = artifact.get("samples", artifact.get("images"))
    files = artifact.get("files_sha256") or {}
    shortened = str(artifact.get("sha256") or "")[:12] or (f"of {len(files)} files in its manifest" if files else "")
    return (
        Cell(artifact["name"]),
        Cell(artifact.get("framework") or ""),
        Cell(artifact.get("format") or ""),
        Cell(size(artifact.get("size_bytes")), artifact.get("size_bytes")),
        Cell(percent(artifact.get("test_accuracy")), artifact.get("test_accuracy")),
        Cell(f"{difference:.1e}" if difference else significant(difference), difference),
        Cell(percent(agreement), agreement),
        Cell(count(samples), samples),
        Cell(", ".join(map(str, artifact.get("batch_sizes") or []))),
        Cell(shortened),
    )


def training_table(report: Report) -> Table | None:
    """What training each twin took and reached."""
    training = report.get("training") or []
    if not training:
        return None
    columns = (
        Column("Framework"),
        Column("Epochs", True),
        Column("Seconds", True),
        Column("Parameters", True),
        Column("Test accuracy", True),
    )
    rows = tuple(
        (
            Cell(entry["framework"]),
            Cell(count(entry.get("epochs")), entry.get("epochs")),
            _figure(entry.get("seconds")),
            Cell(count(entry.get("parameters")), entry.get("parameters")),
            Cell(percent(entry.get("test_accuracy")), entry.get("test_accuracy")),
        )
        for entry in training
    )
    return Table("training", "The twins", columns, rows)


def epochs_table(report: Report) -> Table | None:
    """The twins epoch by epoch."""
    rows = tuple(
        (
            Cell(entry["framework"]),
            Cell(str(epoch.get("epoch")), epoch.get("epoch")),
            _figure(epoch.get("loss")),
            Cell(percent(epoch.get("train_accuracy")), epoch.get("train_accuracy")),
            Cell(percent(epoch.get("test_accuracy")), epoch.get("test_accuracy")),
            _figure(epoch.get("seconds")),
        )
        for entry in report.get("training") or []
        for epoch in entry.get("epochs_log") or []
    )
    columns = (
        Column("Framework"),
        Column("Epoch", True),
        Column("Loss", True),
        Column("Training accuracy", True),
        Column("Test accuracy", True),
        Column("Seconds", True),
    )
    return Table("epochs", "Epoch by epoch", columns, rows) if rows else None


def clients_table(report: Report) -> Table | None:
    """What each client can do against a server that does nothing."""
    clients = report.get("clients") or []
    if not clients:
        return None
    columns = (
        Column("Client"),
        Column("Ceiling, requests/s", True),
        Column("Floor p50, ms", True),
        Column("Floor p99, ms", True),
        Column("Schedule lag p99, ms", True, "how late the client sends against its schedule"),
    )
    rows = tuple(
        (
            Cell(entry["protocol"]),
            _figure(entry.get("ceiling_rps")),
            *(_figure((entry.get("latency_floor_ms") or {}).get(name)) for name in ("p50", "p99")),
            _figure(entry.get("schedule_lag_p99_ms")),
        )
        for entry in clients
    )
    return Table("clients", "The clients against a null server", columns, rows, note=words.CEILING)


def in_process_table(report: Report) -> Table | None:
    """The artifacts without any server: the floor that serving adds to."""
    entries = report.get("in_process") or []
    if not entries:
        return None
    columns = (
        Column("Artifact"),
        Column("Engine"),
        Column("Batch size", True),
        Column("p50, ms", True),
        Column("Samples/s", True),
    )
    rows = tuple(
        (
            Cell(entry["artifact"]),
            Cell("in process"),
            Cell(count(entry.get("batch_size")), entry.get("batch_size")),
            _figure(entry.get("latency_p50_ms")),
            _figure(entry.get("samples_per_s")),
        )
        for entry in entries
    )
    return Table("in-process", "The artifacts run in process, without a server", columns, rows)


def settings_table(report: Report) -> Table | None:
    """The settings that every server ran with."""
    endpoints = report.get("endpoints") or []
    keys = sorted({key for endpoint in endpoints for key in endpoint.get("settings") or {}})
    if not keys:
        return None
    columns = (
        Column("Endpoint"),
        Column("Engine"),
        *(Column(key.replace("_", " "), True) for key in keys),
        Column("Samples sha256"),
    )
    rows = tuple(
        (
            Cell(endpoint["name"]),
            Cell(endpoint.get("engine") or "not known"),
            *(Cell(_plain(value := (endpoint.get("settings") or {}).get(key)), _sortable(value)) for key in keys),
            Cell(str(endpoint.get("samples_sha256") or "")[:12]),
        )
        for endpoint in endpoints
    )
    return Table("settings", "Settings of the servers", columns, rows)


def environment_table(report: Report) -> Table | None:
    """The machine, the versions and the command, key by key."""
    facts = dict(_flat("", report.get("environment") or {}))
    facts |= {
        key: _plain(report[key])
        for key in ("command", "seed", "rounds", "profile", "comparison", "generated")
        if report.get(key) is not None
    }
    if not facts:
        return None
    rows = tuple((Cell(key), Cell(text)) for key, text in facts.items())
    return Table("environment", "Environment", (Column("What"), Column("Found")), rows)


def _flat(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            found += _flat(f"{name} › ", value)
        elif value is not None:
            found.append((name.removesuffix(" bytes"), size(value) if key.endswith("_bytes") else _plain(value)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _sortable(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def conformance_summary(report: Report) -> Table | None:
    """How many cases of each level every endpoint passes."""
    entries = report.get("conformance") or []
    engines = {endpoint["name"]: endpoint.get("engine", "") for endpoint in report.get("endpoints") or []}
    columns = (
        Column("Endpoint"),
        Column("Engine"),
        Column("Protocol"),
        Column("MUST", True, "cases that the specification demands: passed of tried"),
        Column(
            "SHOULD", True, "cases that the specification calls typical, or its reference server shows: passed of tried"
        ),
        Column("Observed", True, "cases that the specification leaves open"),
    )
    rows = tuple(
        (
            Cell(str(entry.get("endpoint"))),
            Cell(str(entry.get("engine") or engines.get(entry.get("endpoint")) or "not known")),
            Cell(str(entry.get("api"))),
            *(_score(entry, level) for level in ("MUST", "SHOULD")),
            Cell(count(sum(case.get("outcome") == "observed" for case in entry.get("cases") or []))),
        )
        for entry in entries
    )
    return Table("conformance", "Conformance at a glance", columns, rows) if rows else None


def _score(entry: Mapping[str, Any], level: str) -> Cell:
    found = [case.get("outcome") for case in entry.get("cases") or [] if case.get("level") == level]
    cases = [outcome for outcome in found if outcome in ("pass", "fail")]
    passed = cases.count("pass")
    good = passed == len(cases)
    if not cases:
        return Cell("none applies")
    return Cell(f"{passed} of {len(cases)}", passed / len(cases), mark="good" if good else "bad")


def conformance_table(report: Report, api: str) -> Table:
    """The cases of one API as rows, the endpoints that speak it as columns."""
    endpoints = [entry for entry in report.get("conformance") or [] if entry.get("api") == api]
    cases = {case["name"]: case for entry in endpoints for case in entry.get("cases") or []}
    rows = []
    for name, case in cases.items():
        found = [next((c for c in entry.get("cases") or [] if c["name"] == name), None) for entry in endpoints]
        rows.append(
            (Cell(name, detail=case.get("source", "")), Cell(case.get("level", "")), *(_outcome(c) for c in found))
        )
    columns = (Column("Case"), Column("Level"), *(Column(str(entry.get("endpoint"))) for entry in endpoints))
    return Table(f"conformance-{api}", f"Conformance to {api}", columns, tuple(rows))


def _outcome(case: Mapping[str, Any] | None) -> Cell:
    if case is None:
        return Cell("not run")
    outcome = str(case.get("outcome"))
    text = {"pass": "✓ pass", "fail": "✗ fail"}.get(outcome, outcome)
    return Cell(
        text,
        detail="" if outcome == "pass" else str(case.get("observed") or ""),
        mark={"pass": "good", "fail": "bad"}.get(outcome, ""),
    )
