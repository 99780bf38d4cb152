"""The file of running endpoints: shared by several supervisors, and right after one was killed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from contract import ROOT, StageError
from serving.process.running_endpoints import announce, read_running, withdraw
from serving.server import Endpoint

OURS = Endpoint("onnxruntime", "pytorch-onnx", "rest", 10000)
THEIRS = Endpoint("tflite", "pytorch-tflite", "rest", 10010)
OTHER = """
import sys
from pathlib import Path
from serving.process.running_endpoints import announce, withdraw
from serving.server import Endpoint
announce([Endpoint("tflite", "pytorch-tflite", "rest", 10010)], Path(sys.argv[1]))
print("announced", flush=True)
if sys.stdin.readline():
    withdraw(Path(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mnist" / "endpoints.json"


def other(path: Path) -> subprocess.Popen[str]:
    """Another terminal's supervisor, which has announced its endpoint."""
    command = [sys.executable, "-c", OTHER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "announced\n"
    return process


def test_two_supervisors_share_the_file(path: Path) -> None:
    announce([OURS], path)
    process = other(path)
    assert read_running(path) == [OURS, THEIRS]
    process.communicate("withdraw\n", timeout=60)
    assert read_running(path) == [OURS]
    withdraw(path)
    assert not path.exists()


def test_first_supervisor_to_end_leaves_the_other(path: Path) -> None:
    announce([OURS], path)
    process = other(path)
    withdraw(path)
    assert read_running(path) == [THEIRS]
    process.communicate("withdraw\n", timeout=60)
    with pytest.raises(StageError, match="nothing is running: start the servers with `make serve-all`"):
        read_running(path)


def test_endpoints_of_a_killed_supervisor_are_passed_over(path: Path) -> None:
    process = other(path)
    process.kill()
    process.communicate(timeout=60)
    announce([OURS], path)
    assert read_running(path) == [OURS]


def test_process_with_the_number_of_a_dead_one_is_another(path: Path) -> None:
    announce([OURS], path)
    rows = json.loads(path.read_text())
    rows[0]["supervisor"]["started_s"] -= 1
    path.write_text(json.dumps(rows))
    with pytest.raises(StageError, match="nothing is running"):
        read_running(path)


def test_endpoints_without_a_supervisor_are_taken_as_running(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps([asdict(OURS)]))
    assert read_running(path) == [OURS]
