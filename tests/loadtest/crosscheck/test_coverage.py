"""`python -m loadtest simulate`: the designs are those of the profiles, and the page says what was counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.crosscheck import coverage
from loadtest.crosscheck.simulated import World


@pytest.mark.parametrize(("profile", "endpoints", "starts"), [("quick", 14, 2), ("quick", 3, 5), ("full", 14, 4)])
def test_a_design_has_the_starts_of_its_profile(profile: str, endpoints: int, starts: int) -> None:
    world = coverage.design(profile, endpoints)
    assert (world.endpoints, world.starts) == (endpoints, starts)
    assert world.blocks >= 6


def test_differences_that_are_there_are_counted() -> None:
    calm = World(4, 4, 8, drift=0.0, start_effect=0.001, noise=0.005, stalls=0.0)
    counts = coverage.count(calm, comparisons=5, questions=1, planted=2.0)
    assert counts["planted_found"] == 1.0
    assert 0 < counts["half_width"] < 0.1


def test_the_page_says_what_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "DESIGNS", (("quick", 14, 1),))
    assert coverage.main(["--comparisons", "2", "--worlds", "1", "--output", str(tmp_path / "coverage.json")]) == 0
    result = json.loads((tmp_path / "coverage.json").read_bytes())
    page = (tmp_path / "coverage.md").read_text()
    assert result["command"] == "python -m loadtest simulate --comparisons 2 --worlds 1"
    assert "2 simulated comparisons of equal endpoints in each row" in page
    assert f"±{result['rows'][0]['half_width']:.1%}" in page
    assert "| quick, 14 endpoints, 1 question |" in page
