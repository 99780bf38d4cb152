"""Renders a comparison: reads its results, writes report.json, .html and .md, prints the first screen.

They go to artifacts/<model>/report. Run it as `make report`, or `python -m loadtest report [--results FOLDER]`;
`--from report.json` renders the figures of an earlier report again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from contract import REPORT, RESULTS, StageError, shown, write_whole
from loadtest.analysis.schema import Report
from loadtest.analysis.summary import summarise
from loadtest.report.markdown import render_markdown
from loadtest.report.page import render_html
from loadtest.report.terminal import WIDTH, render_text


def write_report(report: Report, folder: Path = REPORT) -> list[Path]:
    """Write the three forms of the report into `folder`: report.json, report.html and report.md."""
    forms = {"report.json": report.to_json(), "report.md": render_markdown(report), "report.html": render_html(report)}
    for name, content in forms.items():
        write_whole(folder / name, content.encode())
    return [folder / name for name in forms]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report, print its first screen and where it is; 2 where there is nothing to report."""
    parser = argparse.ArgumentParser(prog="python -m loadtest report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, help="folder of one comparison, or of all: the latest is taken")
    parser.add_argument("--from", dest="source", type=Path, metavar="REPORT_JSON", help="render these figures instead")
    parser.add_argument("--output", type=Path, default=REPORT, help="folder to write into")
    options = parser.parse_args(argv)
    try:
        report = Report.read(options.source) if options.source else summarise(options.results or RESULTS)
        paths = write_report(report, options.output)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    columns = min(WIDTH, max(80, shutil.get_terminal_size((WIDTH, 24)).columns))
    print(f"{render_text(report, columns)}\n\nreport: {shown(paths[-1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
