"""The training Jobs held to the twins: workers, names, flags; and what a worker's start is told of the others."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from contract import FRAMEWORKS, ROOT, StageError
from k8s.build import list_images
from k8s.cluster import render
from k8s.training import INDEX, plain_pods
from training.hyperparameters import Run, parse_run

START = ROOT / "k8s" / "images" / "training" / "start.py"
OVERLAYS = [f"k8s/overlays/{name}/training" for name in ("ci", "cluster", "local")]
MODES = ("eager", "graph")


@pytest.fixture(scope="module")
def start() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_start", START)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    return render(ROOT / overlay)


def job(overlay: str, framework: str) -> dict[str, Any]:
    manifest: dict[str, Any] = next(
        m for m in rendered(overlay) if (m["kind"], m["metadata"]["name"]) == ("Job", f"training-{framework}")
    )
    return manifest


def worker(overlay: str, framework: str) -> dict[str, Any]:
    container: dict[str, Any] = job(overlay, framework)["spec"]["template"]["spec"]["containers"][0]
    return container


def given_run(overlay: str, framework: str) -> Run:
    """The run that the twin makes of the Job's flags."""
    return parse_run(framework, MODES, worker(overlay, framework)["args"][1:], None)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_job_is_indexed_and_knows_its_workers(overlay: str, framework: str) -> None:
    spec = job(overlay, framework)["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] >= 2
    workers = next(e["value"] for e in worker(overlay, framework)["env"] if e["name"] == "WORKERS")
    assert int(workers) == spec["completions"]
    assert f"training-{framework}" in list_images()
    assert worker(overlay, framework)["image"].partition(":")[0].endswith(f"serving-comparison-training-{framework}")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_flags_are_the_twins_and_batches_can_be_split(overlay: str, framework: str) -> None:
    assert worker(overlay, framework)["args"][0] == framework
    run, workers = given_run(overlay, framework), job(overlay, framework)["spec"]["completions"]
    assert run.hyper.batch_size % workers == run.hyper.images % run.hyper.batch_size % workers == 0
    assert (run.mode == "graph") == (framework == "tensorflow")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_twins_get_the_same_hyperparameters(overlay: str) -> None:
    assert len({given_run(overlay, framework).hyper for framework in FRAMEWORKS}) == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_workers_names_are_those_of_the_headless_service(framework: str, start: ModuleType) -> None:
    objects = {(m["kind"], m["metadata"]["name"]): m for m in rendered(OVERLAYS[0])}
    service = objects["Service", f"training-{framework}"]["spec"]
    template = job(OVERLAYS[0], framework)["spec"]["template"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert [port["port"] for port in service["ports"]] == [start.PORT]
    assert [p["containerPort"] for p in worker(OVERLAYS[0], framework)["ports"]] == [start.PORT]
    names = [f"{pod['spec']['hostname']}.{pod['spec']['subdomain']}" for pod in plain_pods(job(OVERLAYS[0], framework))]
    assert start.hosts(framework, len(names)) == names


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_plain_pods_say_their_index_as_an_indexed_job_does(framework: str) -> None:
    pods = plain_pods(job(OVERLAYS[0], framework))
    assert [pod["metadata"]["annotations"][INDEX] for pod in pods] == ["0", "1"]
    for pod in pods:
        variables = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
        assert variables["JOB_COMPLETION_INDEX"] == pod["metadata"]["annotations"][INDEX]
        assert pod["spec"]["containers"][0]["args"] == worker(OVERLAYS[0], framework)["args"]


def test_tensorflow_worker_is_told_by_tf_config(start: ModuleType) -> None:
    words, variables = start.command("tensorflow", 1, 2, ["--epochs=1"])
    config = json.loads(variables["TF_CONFIG"])
    assert words[1:] == ["-m", "training.train_tensorflow", "--epochs=1"]
    assert config["task"] == {"type": "worker", "index": 1}
    assert config["cluster"]["worker"] == [f"training-tensorflow-{i}.training-tensorflow:29500" for i in range(2)]


def test_pytorch_worker_is_started_by_torchrun_at_its_rank(start: ModuleType) -> None:
    words, variables = start.command("pytorch", 1, 2, ["--epochs=1"])
    assert variables == {}
    assert {"--nnodes=2", "--node-rank=1", "--master-addr=training-pytorch-0.training-pytorch"} <= set(words)
    assert words[-3:] == ["-m", "training.train_pytorch", "--epochs=1"]


def test_worker_waits_until_every_name_has_an_address(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start.time, "sleep", lambda seconds: None)
    names = []

    def resolve(name: str, port: None) -> None:
        names.append(name)
        if len(names) < 3:
            raise OSError("no such name")

    start.wait_for_names(["a", "b"], resolve)
    assert names == ["a", "a", "a", "b"]


def test_worker_says_which_name_never_came(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "MEET_S", -1.0)

    def resolve(name: str, port: None) -> None:
        raise OSError("no such name")

    with pytest.raises(StageError, match=r"no address of training-pytorch-1\.training-pytorch .*is its pod there"):
        start.wait_for_names(["training-pytorch-1.training-pytorch"], resolve)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["jax"], "the first word has to be tensorflow or pytorch"),
        (["pytorch"], "no JOB_COMPLETION_INDEX: run this in an Indexed Job"),
    ],
)
def test_start_refuses_what_it_cannot_run(words: list[str], reason: str) -> None:
    argv = (sys.executable, START, *words)
    done = subprocess.run(argv, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert reason in done.stderr
