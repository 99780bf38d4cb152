"""What stands beside a comparison: manifests of models and artifacts, and the files that other commands wrote.

Only what belongs to the artifacts of the comparison is taken. Reads files; imports no stage.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from contract import MODEL_REPOSITORY, MODELS, RESULTS, WORKSPACE, Manifest, StageError, shown
from loadtest.analysis.facts import Artifact, Client, Conformance, Epoch, InProcess, Rates, Training
from loadtest.fields import FieldError, read_fields

IN_PROCESS = RESULTS / "in_process.json"
SLO = RESULTS / "slo" / "slo.json"
CONFORMANCE = WORKSPACE / "conformance.json"


def describe_artifacts(repository: Path = MODEL_REPOSITORY) -> tuple[Artifact, ...]:
    """What the artifacts' manifests say."""
    manifests = [Manifest.read(path.parent, "make export") for path in sorted(repository.glob("*/manifest.json"))]
    return tuple(_artifact(manifest) for manifest in manifests)


def _artifact(manifest: Manifest) -> Artifact:
    parity = manifest.parity
    return Artifact(
        name=manifest.name,
        framework=manifest.framework,
        format=manifest.format,
        size_bytes=manifest.size_bytes,
        files_sha256=dict(manifest.sha256),
        test_accuracy=manifest.test_accuracy,
        max_abs_diff=parity.get("max_abs_diff"),
        label_agreement=parity.get("label_agreement"),
        samples=parity.get("samples", parity.get("images")),
        batch_sizes=tuple(parity.get("batch_sizes", ())),
    )


def describe_training(frameworks: Collection[str]) -> tuple[Training, ...]:
    """How the models of these frameworks were trained, where they were trained here."""
    rows = []
    for path in sorted(MODELS.glob("*/manifest.json")):
        manifest = Manifest.read(path.parent, "make train")
        facts: Mapping[str, Any] = manifest.training
        if manifest.framework in frameworks and "epochs" in facts:
            epochs = tuple(Epoch(**epoch) for epoch in facts.get("epochs_log", ()))
            keys = {key: facts.get(key) for key in ("epochs", "seconds", "parameters")}
            accuracy = {"test_accuracy": manifest.test_accuracy, "versions": manifest.versions}
            rows.append(Training(manifest.framework, **keys, epochs_log=epochs, **accuracy))  # type: ignore[arg-type]
    return tuple(rows)


def read_clients(folder: Path) -> tuple[Client, ...]:
    """The calibration of a comparison."""
    return tuple(_rows(folder / "clients.json", Client))


def read_in_process(artifacts: Mapping[str, Mapping[str, str]]) -> tuple[InProcess, ...]:
    """What the artifacts take without a server; `artifacts` has the files' sha256 by name: other files don't count."""
    known = {name: dict(files) for name, files in artifacts.items()}
    rows = json.loads(IN_PROCESS.read_bytes()) if IN_PROCESS.is_file() else []
    fresh = [row for row in rows if row.get("artifact") in known and row.get("sha256") == known[row["artifact"]]]
    kept = [{key: value for key, value in row.items() if key != "sha256"} for row in fresh]
    return tuple(_row(row, InProcess, IN_PROCESS) for row in kept if "reason" not in row)


def read_rates(endpoints: Collection[str]) -> Rates | None:
    """The search for the highest rate, as far as it is of these endpoints."""
    if not SLO.is_file():
        return None
    rates = _row(json.loads(SLO.read_bytes())["rates"], Rates, SLO)
    kept = tuple(rate for rate in rates.rates if rate.name in endpoints)
    return Rates(**{**vars(rates), "rates": kept}) if kept else None


def read_conformance(endpoints: Collection[str]) -> tuple[Conformance, ...]:
    """The conformance cases of these endpoints."""
    fields = Conformance.__dataclass_fields__
    rows = json.loads(CONFORMANCE.read_bytes()) if CONFORMANCE.is_file() else []
    kept = [{key: value for key, value in row.items() if key in fields} for row in rows if row["endpoint"] in endpoints]
    return tuple(_row(row, Conformance, CONFORMANCE) for row in kept)


def _rows(path: Path, kind: type[Client]) -> list[Client]:
    rows = json.loads(path.read_bytes()) if path.is_file() else []
    return [_row(row, kind, path) for row in rows]


def _row(fields: Mapping[str, Any], kind: Any, path: Path) -> Any:
    try:
        return read_fields(kind, fields)
    except FieldError as error:
        raise StageError(f"{shown(path)} is of an older version ({error}): delete it and measure again") from None
