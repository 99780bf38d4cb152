"""What a process tree used, measured on a tree that uses a known amount."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from loadtest.generator.resources import between, usage

PROGRAM = """
import subprocess, sys, time
hoard = bytearray(60_000_000)
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
end = time.process_time() + 0.3
while time.process_time() < end: pass
print("done", flush=True)
sys.stdin.readline()
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
del hoard
print("done", flush=True)
sys.stdin.readline()
child.communicate("\\n")
"""


@pytest.fixture(scope="module")
def family() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate("\n")


def test_the_whole_tree_is_counted(family: int) -> None:
    found = usage(family)
    assert found is not None
    assert found.processes == found.threads == 2
    assert found.cpu_s >= 0.3


def test_a_peak_outlives_its_memory(family: int) -> None:
    found = usage(family)
    assert found is not None
    assert found.peak_rss_bytes - found.rss_bytes > 50_000_000


def test_differences_are_what_a_phase_used(family: int) -> None:
    before = usage(family)
    used = between(before, usage(family))
    assert used["cpu_s"] == pytest.approx(0, abs=0.05)
    assert used["context_switches"] is not None
    assert used["rss_bytes"] == before.rss_bytes


def test_an_ended_process_has_no_figures() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert usage(ended.pid) is None
    assert set(between(None, None).values()) == {None}
