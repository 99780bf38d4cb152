"""Rates that an endpoint can bear, in a process of its own, as the module imports Locust."""

from __future__ import annotations

import subprocess
import sys

import pytest

from contract import ROOT

CODE = """
import locust
from loadtest.scenarios import Burst, Closed, Open
from loadtest.generator.runner import cap_to_capacity
print([cap_to_capacity(s, {reached}) for s in (Closed(8, 1), Open(250, 1), Burst(500, 1))] == {expected})
"""


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ("1000.0", "[Closed(8, 1), Open(250, 1), Burst(500, 1)]"),
        ("100.0", "[Closed(8, 1), Open(60.0, 1), Burst(120.0, 1)]"),
        ("float('inf')", "[Closed(8, 1), Open(250, 1), Burst(500, 1)]"),
    ],
)
def test_a_slow_endpoint_gets_a_bearable_rate(reached: str, expected: str) -> None:
    code = CODE.format(reached=reached, expected=expected)
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
