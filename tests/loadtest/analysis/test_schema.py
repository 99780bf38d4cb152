"""`report.json` by its schema: read, written again, and refused where it is of another version or broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract import StageError
from loadtest.analysis.schema import VERSION, Report, all_points


def test_a_report_comes_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "report.json")
    again = Report.read(tmp_path / "report.json")
    assert again == report
    assert again.version == VERSION
    assert len(all_points(again.endpoints)) == 56


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"version": 1}, "is a report of version 1, this is version 2: measure again with `make compare`"),
        ({"version": 3}, "is a report of version 3"),
        ({"complete": "yes"}, "Report.complete: 'yes' is not bool"),
        ({"design": {}}, "Report.design: missing ['profile'"),
        ({"surprise": 1}, "unknown ['surprise']"),
    ],
)
def test_a_report_of_another_shape_is_refused(
    report: Report, tmp_path: Path, change: dict[str, Any], refusal: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**json.loads(report.to_json()), **change}))
    with pytest.raises(StageError) as error:
        Report.read(path)
    assert refusal in str(error.value)


@pytest.mark.parametrize(
    ("content", "refusal"),
    [(b"{", "is not JSON"), (b"[]", "no key `endpoints`"), (b'{"endpoints": []}', "is a report of version 1")],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes, refusal: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(StageError, match=refusal):
        Report.read(path)


def test_a_missing_report_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="run `make compare`"):
        Report.read(tmp_path / "report.json")
