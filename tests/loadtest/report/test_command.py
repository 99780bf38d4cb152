"""`python -m loadtest report`: three files, the first screen on the terminal, refusals that name the remedy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from contract import ROOT
from loadtest.analysis.schema import Report
from loadtest.report import command


@pytest.fixture
def source(report, tmp_path):
    report.write(tmp_path / "source.json")
    return tmp_path / "source.json"


def test_report_writes_three_forms_and_prints_the_first_screen(report, source, tmp_path, capsys):
    assert command.main(["--from", str(source), "--output", str(tmp_path / "made")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tflite over binary REST and 4 others answer most")
    assert printed.rstrip().endswith("report.html")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"report.html", "report.md", "report.json"}
    assert Report.read(tmp_path / "made" / "report.json") == report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run `make compare`"),
        ("{", "is not JSON"),
        ("[]", "has no key `endpoints`"),
        ('{"endpoints": []}', "is a report of version 1"),
    ],
)
def test_report_refuses_what_is_no_report(tmp_path, capsys, content, message):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    assert command.main(["--from", str(path), "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_the_check_of_the_main_job_accepts_a_good_report(source):
    checked = subprocess.run([sys.executable, ".ci/check_report.py", source], cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"{source}: 14 endpoints, 7 tiers of throughput, no failure, no wrong answer\n"
