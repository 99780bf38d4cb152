"""Renders a comparison: reads artifacts/results, writes artifacts/report/report.{json,html,md}, prints the table.

Run it as `make report`, or `python -m loadtest report [--results FOLDER]`; `--from report.json` renders the figures of
an earlier report again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contract import REPORT, RESULTS, StageError, shown, to_json, write_whole
from loadtest.report.markdown import render_markdown
from loadtest.report.page import render_html
from loadtest.report.table import to_text
from loadtest.report.tables.endpoints import glance_table


def write_report(report: Mapping[str, Any], folder: Path = REPORT) -> list[Path]:
    """Write the three forms of the report into `folder`: report.json, report.html and report.md."""
    forms = {"report.json": to_json(report), "report.md": render_markdown(report), "report.html": render_html(report)}
    for name, content in forms.items():
        write_whole(folder / name, content.encode())
    return [folder / name for name in forms]


def read_report(path: Path) -> dict[str, Any]:
    """Read the figures of an earlier report; raises StageError where the file is none."""
    try:
        found = json.loads(path.read_text())
    except OSError:
        raise StageError(f"no {shown(path)}: run `make compare`") from None
    except ValueError as error:
        raise StageError(f"{shown(path)} is not JSON ({error}): delete it and run `make report`") from None
    if not isinstance(found, dict) or "endpoints" not in found:
        raise StageError(f"{shown(path)} has no key `endpoints`, so it is no report: run `make report`")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its table and where it is; 2 where there is nothing to report."""
    parser = argparse.ArgumentParser(prog="python -m loadtest report", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="folder of one comparison, or of all: the latest is taken")
    parser.add_argument("--from", dest="source", type=Path, metavar="REPORT_JSON", help="render these figures instead")
    parser.add_argument("--output", type=Path, default=REPORT, help="folder to write into")
    given = parser.parse_args(argv)
    try:
        report = read_report(given.source) if given.source else _summarised(given.results or RESULTS)
        paths = write_report(report, given.output)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    print(to_text(glance_table(report)))
    print(f"\nreport: {shown(paths[-1])}")
    return 0


def _summarised(results: Path) -> dict[str, Any]:
    from loadtest.analysis.summary import summarise

    found: dict[str, Any] = summarise(results)
    return found


if __name__ == "__main__":
    sys.exit(main())
