"""Holds the report of the main job to what the README promises: `python .ci/check_report.py report.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def problems(report: dict[str, Any]) -> list[str]:
    """What is wrong with the report, in words; empty where nothing is."""
    endpoints = report["endpoints"]
    servers = {endpoint["server"] for endpoint in endpoints}
    found = []
    if len(servers) < 4:
        found.append(f"4 servers expected, measured {sorted(servers)}")
    if len(endpoints) < 12:
        found.append(f"at least 12 endpoints expected, measured {len(endpoints)}")
    if {row["framework"] for row in report["training"]} != {"tensorflow", "pytorch"}:
        found.append(f"two twins expected, found {report['training']}")
    found += [
        f"{row['framework']}: accuracy {row['test_accuracy']:.4f} is under 0.98"
        for row in report["training"]
        if row["test_accuracy"] < 0.98
    ]
    found += [
        f"{row['name']}: off by {row['max_abs_diff']}" for row in report["artifacts"] if row["max_abs_diff"] > 1e-5
    ]
    for endpoint in endpoints:
        if not endpoint["scenarios"]:
            found.append(f"{endpoint['name']} was not measured")
        for scenario in endpoint["scenarios"]:
            counted = {key: scenario[key] for key in ("failures", "wrong_answers")}
            if any(counted.values()) or not scenario["requests"]:
                found.append(f"{endpoint['name']} {scenario['name']}: {scenario['requests']} requests, {counted}")
    return found


def main(path: str) -> int:
    """Print the problems of the report at `path`; 1 if there are any."""
    report = json.loads(Path(path).read_text())
    found = problems(report)
    print("\n".join(found) or f"{path}: {len(report['endpoints'])} endpoints, no failure, no wrong answer")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
