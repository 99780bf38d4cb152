"""The whole road on a small model that is not MNIST: compare, resume, summarise, attach; and plain Locust."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import pytest

from contract import ROOT
from loadtest.analysis.schema import Report
from loadtest.raw_times import read_raw
from serving.process.launcher import free_ports, start, wait_ready
from serving.repository import read_artifacts
from serving.server import Settings, find_server

pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def command(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run a Python module against the small repository, in an artifacts folder of its own."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    environ = {**os.environ, "MODEL_REPOSITORY": str(small_repository), "ARTIFACTS_DIR": str(artifacts)}
    workspace = artifacts / "mnist"
    workspace.mkdir()
    environ |= {"COLUMNS": "200", "ENDPOINTS": str(workspace / "endpoints.json")}

    def run(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        argv = (sys.executable, "-m", *words)
        return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout)

    run.artifacts, run.environ = workspace, environ  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def compared(command: Command) -> Path:
    """One comparison of the smoke profile with two rounds; its folder."""
    words = ("--profile", "smoke", "--rounds", "2", "--servers", "onnxruntime", "--name", "test", "--seed", "5")
    done = command("loadtest", *words)
    assert done.returncode == 0, done.stderr
    return command.artifacts / "results" / "test"  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def running(command: Command, small_repository: Path, tmp_path_factory: pytest.TempPathFactory):
    """An ONNX Runtime server that runs already, announced in endpoints.json."""
    server, folder = find_server("onnxruntime"), tmp_path_factory.mktemp("server")
    artifacts, ports = read_artifacts(small_repository), free_ports(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_REPOSITORY", str(small_repository))
        launch = server.launch("embedded", artifacts, ports, Settings(), folder)
    argv = tuple(
        str(small_repository) if word.endswith("model_repository") and "=" not in word else word for word in launch.argv
    )
    process = start(type(launch)(argv, launch.env, launch.cwd), log=folder / "log")
    wait_ready(process, server, artifacts, ports)
    endpoints = server.endpoints(artifacts, ports, "embedded")
    path = command.artifacts / "endpoints.json"  # type: ignore[attr-defined]
    path.write_text(json.dumps([asdict(endpoint) for endpoint in endpoints]))
    yield path
    process.stop()


def test_a_comparison_leaves_every_run(compared: Path) -> None:
    results = sorted(path.name for path in (compared / "onnxruntime__pytorch-onnx__grpc").glob("*"))
    names = ("single_stream", "closed-8", "closed-32", "open")
    assert results == sorted(f"{n}-{r}.{s}" for n in names for r in (1, 2) for s in ("json", "npz"))


def test_a_result_explains_itself(compared: Path) -> None:
    result = json.loads((compared / "onnxruntime__pytorch-onnx__rest" / "closed-8-1.json").read_bytes())
    assert result["environment"]["machine"]["cores"] >= 1
    assert result["environment"]["versions"]["locust"]
    assert result["settings"]["threads"] == 1
    assert result["command"].startswith("python -m loadtest --profile smoke --rounds 2 --servers onnxruntime")
    assert len(result["samples_sha256"]) == 64
    cold = result["cold_start"]
    assert 0 < cold["live_s"] <= cold["ready_s"] < cold["first_answer_s"]
    assert result["failures"] == result["wrong_answers"] == 0, result["explanations"]


def test_a_summary_has_what_the_report_needs(compared: Path, command: Command) -> None:
    done = command("loadtest", "summary")
    assert done.returncode == 0, done.stderr
    (path := compared / "report.json").write_text(done.stdout)
    report = Report.read(path)
    assert report.complete
    assert {client.protocol for client in report.clients} == {"rest", "rest-binary", "grpc"}
    assert len(report.endpoints) == 3
    assert report.design.starts == 2
    assert report.design.open_load is not None
    assert report.design.open_load.chosen_by == "share"
    for endpoint in report.endpoints:
        assert (endpoint.peak_rss_bytes or 0) > 10_000_000
        assert [point.name for point in endpoint.points] == ["single_stream", "closed-8", "closed-32", "open"]
        assert all(len(point.quantiles_ms) == 101 for point in endpoint.points)
        assert all(point.failures == point.wrong_answers == 0 for point in endpoint.points)
    assert {ranking.question for ranking in report.rankings} >= {"memory", "size", "start"}


def test_every_start_has_its_blocks(compared: Path) -> None:
    schedule = json.loads((compared / "schedule.json").read_bytes())
    assert schedule["groups"] == [["onnxruntime"]]
    for path in compared.glob("*__*__*/*.json"):
        result = json.loads(path.read_bytes())
        (planned,) = [
            blocks for blocks in schedule["blocks"][result["endpoint"]["name"]] if blocks["scenario"] == path.stem[:-2]
        ]
        assert len(result["blocks"]) == planned["count"]
        assert set(read_raw(path.with_suffix(".npz"))["block"]) == set(range(planned["count"]))


def test_a_complete_comparison_measures_nothing_again(compared: Path, command: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in compared.glob("*__*/*.npz")}
    assert command("loadtest", "--resume", "test").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in compared.glob("*__*/*.npz")} == before


def test_a_missing_run_is_made_up(compared: Path, command: Command) -> None:
    lost = compared / "onnxruntime__pytorch-onnx__grpc" / "open-2.json"
    first = json.loads(lost.read_bytes())
    lost.unlink()  # its raw times stay, as an interruption between the two would leave them
    kept = {path: path.stat().st_mtime_ns for path in compared.glob("*__*__*/*.npz") if path.stem != "open-2"}
    assert command("loadtest", "--resume", "test").returncode == 0
    again = json.loads(lost.read_bytes())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(again["blocks"]) == len(first["blocks"])
    assert set(read_raw(lost.with_suffix(".npz"))["block"]) == set(range(len(again["blocks"])))
    assert again["seed"] == first["seed"]
    assert again["started"] >= first["started"]


def test_an_interrupted_comparison_keeps_its_results(compared: Path, command: Command) -> None:
    words = ("loadtest", "--profile", "smoke", "--rounds", "3", "--servers", "onnxruntime", "--name", "interrupted")
    (compared.parent / "interrupted").mkdir()
    shutil.copy(compared / "clients.json", compared.parent / "interrupted")  # the client needs no second look
    argv = (sys.executable, "-m", *words)
    with subprocess.Popen(argv, cwd=ROOT, env=command.environ, stderr=subprocess.PIPE, text=True) as process:  # type: ignore[attr-defined]
        while not list(compared.parent.glob("interrupted/*__*/*.json")):
            assert process.poll() is None
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "go on with `make loadtest RESUME=interrupted`" in said
    assert len(family) >= 2
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    report = json.loads(command("loadtest", "summary").stdout)
    assert (report["comparison"], report["complete"]) == ("interrupted", False)
    shutil.rmtree(compared.parent / "interrupted")


def test_running_servers_are_attached_to(running: Path, command: Command) -> None:
    words = ("--profile", "smoke", "--endpoints", str(running), "--only", "onnxruntime/pytorch-onnx/rest-binary")
    done = command("loadtest", *words, "--name", "attached")
    assert done.returncode == 0, done.stderr
    folder = command.artifacts / "results" / "attached" / "onnxruntime__pytorch-onnx__rest-binary"  # type: ignore[attr-defined]
    result = json.loads((folder / "closed-32-1.json").read_bytes())
    assert result["settings"] is None
    assert result["server"]["cpu_s"] is None
    assert result["requests"] > 100


@pytest.mark.parametrize(
    ("more", "processes"),
    [(("-u", "4"), 1), (("-u", "2", "--arrivals", "poisson", "--rate", "300", "--processes", "2"), 2)],
)
def test_locust_runs_the_file(
    running: Path, command: Command, tmp_path: Path, more: tuple[str, ...], processes: int
) -> None:
    words = ("-f", "loadtest/locustfile.py", "--headless", "-t", "3s", "--raw", str(tmp_path), "-r", "10", *more)
    done = command("locust", *words, "--endpoint", "onnxruntime/pytorch-onnx/grpc")
    assert done.returncode == 0, done.stderr
    raw = [read_raw(path) for path in tmp_path.glob("*.npz")]
    assert len(raw) == processes
    assert all((table["outcome"] == 0).all() for table in raw)
    if "--rate" in more:  # shared: both together make the rate
        rates = [1e6 * (len(table["intended_us"]) - 1) / np.ptp(table["intended_us"]) for table in raw]
        assert sum(rates) == pytest.approx(300, rel=0.3)
        assert rates[0] == pytest.approx(rates[1], rel=0.5)
    assert "onnxruntime/pytorch-onnx/grpc" in done.stderr + done.stdout


def test_locust_without_servers_says_what_to_do(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless"),
        cwd=ROOT,
        env={**os.environ, "ENDPOINTS": "/nowhere.json"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "nothing is running: start the servers with `make serve-all`" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resume", "gone"), "no comparison 'gone' in artifacts/results: there are"),
        (("--servers", "gone"), "no server 'gone': choose from"),
        (("--only", "gone", "--servers", "onnxruntime"), "no endpoint begins with gone"),
        (("--endpoints", "/nowhere.json"), "/nowhere.json is no list of endpoints"),
    ],
)
def test_a_mistake_is_explained(command: Command, words: tuple[str, ...], said: str) -> None:
    done = command("loadtest", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
