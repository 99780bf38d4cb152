"""Builds the report's figures from a comparison's results: what `report.json` holds.

Reads `artifacts/results/<comparison>/`, the manifests of the models and artifacts, and, where they were made, the
results of `make slo`, the conformance suite and the training modes. Writes nothing; `loadtest.report.command` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract import MODEL_REPOSITORY, MODELS, RESULTS, WORKSPACE, Manifest, StageError, shown, to_json
from export.format import find_format, list_artifacts
from loadtest.analysis.aggregate import describe_endpoint
from loadtest.analysis.headline import headline
from loadtest.analysis.ranking import rank
from loadtest.scenarios import from_fields

BESIDE = {
    "slo": RESULTS / "slo" / "slo.json",
    "conformance": WORKSPACE / "conformance.json",
    "training_modes": RESULTS / "training.json",
    "in_process": RESULTS / "in_process.json",
}
"""Sections of the report that other commands measure; each is left out where its file is not there."""


def summarise(results: Path = RESULTS) -> dict[str, Any]:
    """The report of the comparison in `results`, or of the latest one below it."""
    folder = find_comparison(results)
    comparison = json.loads((folder / "comparison.json").read_bytes())
    clients = _read(folder / "clients.json") or []
    runs = read_results(folder, [from_fields(fields).name for fields in comparison["scenarios"]])
    if not runs:
        raise StageError(f"{shown(folder)} has no results yet: run `make loadtest RESUME={folder.name}`")
    endpoints = [describe_endpoint(name, found, clients) for name, found in sorted(runs.items())]
    verdicts = rank(endpoints)
    return {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "comparison": comparison["name"],
        **{key: comparison[key] for key in ("profile", "seed", "rounds", "command", "environment", "target_ms")},
        "complete": is_complete(comparison, runs),
        "headline": headline(endpoints, verdicts, comparison),
        "verdicts": verdicts,
        "training": describe_training(),
        "artifacts": describe_artifacts(),
        "not_exported": not_exported(),
        "clients": clients,
        "endpoints": endpoints,
        **{name: _read(path) for name, path in BESIDE.items()},
    }


def find_comparison(results: Path) -> Path:
    """`results` itself if it is a comparison, else the latest one below it."""
    if (results / "comparison.json").is_file():
        return results
    found = sorted(results.glob("*/comparison.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise StageError(f"no comparison in {shown(results)}: run `make loadtest`")
    return found[-1].parent


def read_results(folder: Path, scenarios: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Every result of a comparison by endpoint, each with the path of its raw times under `raw`, by
    scenario and round.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*__*__*/*.json")):
        result = json.loads(path.read_bytes())
        result["raw"] = path.with_suffix(".npz")
        found.setdefault(result["endpoint"]["name"], []).append(result)
    for results in found.values():
        results.sort(key=lambda result: (scenarios.index(result["scenario_name"]), result["round"]))
    return found


def is_complete(comparison: Mapping[str, Any], runs: Mapping[str, Sequence[Any]]) -> bool:
    """Whether every endpoint has every run that the comparison asked for."""
    expected = comparison["rounds"] * len(comparison["scenarios"])
    servers = {results[0]["endpoint"]["server"] for results in runs.values()}
    return all(len(found) == expected for found in runs.values()) and servers >= set(comparison["servers"])


def describe_training() -> list[dict[str, Any]]:
    """The report's `training`: what each twin's manifest says."""
    found = []
    for path in sorted(MODELS.glob("*/manifest.json")):
        manifest = Manifest.read(path.parent, "make train")
        fields = {
            "framework": manifest.framework,
            "test_accuracy": manifest.test_accuracy,
            "versions": manifest.versions,
        }
        found.append({**manifest.training, **fields})
    return found


def describe_artifacts() -> list[dict[str, Any]]:
    """The report's `artifacts`: what each artifact's manifest says."""
    found = []
    for path in sorted(MODEL_REPOSITORY.glob("*/manifest.json")):
        manifest = Manifest.read(path.parent, "make export")
        fields = {
            "name": manifest.name,
            "framework": manifest.framework,
            "format": manifest.format,
            "size_bytes": manifest.size_bytes,
            "test_accuracy": manifest.test_accuracy,
            "sha256": next(iter(manifest.sha256.values())) if len(manifest.sha256) == 1 else None,
            "files_sha256": manifest.sha256,
        }
        found.append({"max_abs_diff": None, "label_agreement": None, **manifest.parity, **fields})
    return found


def not_exported() -> list[dict[str, str]]:
    """Valid pairs of framework and format that the repository has no artifact of, and what would bring them."""
    there = {path.parent.name for path in MODEL_REPOSITORY.glob("*/manifest.json")}
    found = []
    for name in list_artifacts():
        framework, _, kind = name.partition("-")
        if name not in there:
            extra = find_format(kind).missing_extra(framework)
            reason = f"install the extra {extra}: pip install '.[{extra}]'" if extra else f"run `make export-{name}`"
            found.append({"name": name, "reason": reason})
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.is_file() else None


def main(words: Sequence[str]) -> int:
    """Print the figures of a comparison as JSON."""
    parser = argparse.ArgumentParser(prog="python -m loadtest summary", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of one comparison, or of all: the latest")
    print(to_json(summarise(parser.parse_args(words).results)), end="")
    return 0
