"""Several workers do what one process does; a lost one ends the run, and a resumed run mends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from contract import FRAMEWORKS, ROOT, Manifest
from training.distributed import ended, main, reason

# Prints the largest absolute difference between the weights of two runs.
DIFFERENCE = {
    "tensorflow": """
import sys
from pathlib import Path
import numpy as np
from training.train_tensorflow import load
a, b = (load(Path(folder)).network.get_weights() for folder in sys.argv[1:])
print(max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)))
""",
    "pytorch": """
import sys
from pathlib import Path
from training.train_pytorch import load
a, b = (load(Path(folder)).state_dict() for folder in sys.argv[1:])
print(max(float((a[name] - b[name]).abs().max()) for name in a))
""",
}
ONE_STEP = ("--images", "32", "--epochs", "1")
WAY = {
    "DistributedDataParallel": ("pytorch", ("-m", "training.distributed", "pytorch")),
    "MultiWorkerMirroredStrategy": ("tensorflow", ("-m", "training.distributed", "tensorflow")),
    "MirroredStrategy": ("tensorflow", ("-m", "training.train_tensorflow", "--replicas", "2", "--mode", "graph")),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, run_python):
    """Per framework the folder of a run of one step in a single process."""
    folders = {framework: tmp_path_factory.mktemp(framework) for framework in FRAMEWORKS}
    for framework, folder in folders.items():
        run_python("-m", f"training.train_{framework}", *ONE_STEP, "--output", folder)
    return folders


@pytest.mark.parametrize("way", WAY)
def test_one_step_on_two_workers_gives_the_weights_of_one_process(way, alone, tmp_path, run_python):
    framework, command = WAY[way]
    run_python(*command, *ONE_STEP, "--output", tmp_path)
    assert float(run_python("-c", DIFFERENCE[framework], alone[framework], tmp_path)) <= 1e-5
    assert Manifest.read(tmp_path, "").training["hyperparameters"]["batch_size"] == 32


def worker_of(supervisor: int, rank: int) -> psutil.Process:
    """The process of a worker: the workers are started in the order of their ranks."""
    workers = []
    for process in psutil.Process(supervisor).children(recursive=True):
        line = " ".join(process.cmdline())
        if "training.train_" in line and "torch.distributed.run" not in line:
            workers.append(process)
    return sorted(workers, key=lambda process: process.create_time())[rank]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_killed_worker_ends_the_run_and_a_resumed_run_finishes_it(framework, tmp_path, run_python):
    twin = ("--images", "1280", "--epochs", "2", "--output", str(tmp_path))
    command = (sys.executable, "-m", "training.distributed", framework, *twin)
    log = tmp_path / "log"
    with log.open("wb") as file:
        run = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for_epoch(run, log)
        worker_of(run.pid, 1).kill()
        assert run.wait(timeout=90) == 2
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    last = log.read_text().strip().splitlines()[-1]
    assert "worker 1 was killed by SIGKILL: the others were stopped" in last
    assert "make train-distributed RESUME=1" in last
    assert not (tmp_path / "manifest.json").exists()
    assert "epoch 1 " not in run_python("-m", "training.distributed", framework, *twin, "--resume")
    assert [epoch["epoch"] for epoch in Manifest.read(tmp_path, "").training["epochs_log"]] == [1, 2]


def wait_for_epoch(run: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while "epoch 1 " not in log.read_text():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_reason_names_the_worker_that_torchrun_blames():
    report = "Root Cause (first observed failure):\n[0]:\n  rank      : 3 (local_rank: 1)\n  exitcode  : -9 (pid: 17)\n"
    assert reason(report) == "worker 3 was killed by SIGKILL"
    assert reason("") == "the workers failed (they printed nothing)"
    assert ended(2) == "ended with exit code 2"


def test_no_workers_are_refused(capsys):
    assert main(["pytorch", "--workers", "0"]) == 2
    assert "--workers 0: at least 1" in capsys.readouterr().err
