"""The whole road on the one-node test cluster: deploy, measure, roll, break, kill, drain and scale, each under load.

Not part of the plain suite: `make test-k8s` runs it, with the images built. Figures go to
`artifacts/k8s/end_to_end.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract import ARTIFACTS, MODEL_REPOSITORY, ROOT, StageError, to_json, write_whole
from k8s.build import reference
from k8s.cluster import NAMESPACE, Cluster, choose
from k8s.deploy import deploy, wait_ready
from k8s.loadtest import run_loadtest
from loadtest.plan import Run, Visit, write_plan
from loadtest.scenarios import Closed, Open, Scenario
from loadtest.summary import find_comparison
from serving.server import Endpoint, find_server, list_servers

pytestmark = pytest.mark.cluster
FIGURES = ARTIFACTS / "k8s" / "end_to_end.json"
REST, GRPC = "onnxruntime/pytorch-onnx/rest", "onnxruntime/tensorflow-onnx/grpc"
RATE_RPS = 50.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The test cluster, started here where it is not up."""
    try:
        chosen = choose("ci")
    except StageError as error:
        pytest.skip(str(error))
    assert chosen.tool
    started = subprocess.run((chosen.tool, "status"), capture_output=True).returncode != 0
    if started:
        subprocess.run((chosen.tool, "up"), check=True)
    yield chosen
    if started:
        subprocess.run((chosen.tool, "down"), check=True)


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> dict[str, float]:
    return deploy(cluster, "ci", timeout_s=420)


def report(**figures: Any) -> None:
    """Keep figures for a person to read."""
    known = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    write_whole(FIGURES, to_json({**known, **figures}).encode())


def wait_until(condition: Callable[[], Any], timeout_s: float) -> float:
    """Seconds until `condition` holds; fails after `timeout_s`."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.5)
    return time.monotonic() - began_s


@contextmanager
def load(cluster: Cluster, folder: Path, scenario: Scenario, *names: str) -> Iterator[dict[str, Any]]:
    """Put load on endpoints during the block; afterwards what is yielded has the results by name."""
    results: dict[str, Any] = {}
    running = []
    for number, name in enumerate(names):
        server, artifact, protocol = name.split("/")
        port = find_server(server).ports[find_server(server).protocols[protocol]]
        endpoint = Endpoint(server, artifact, protocol, port, f"{server}.{NAMESPACE}")
        path, plan = str(folder / name.replace("/", "__")), folder / f"{number}.json"
        write_plan(plan, MODEL_REPOSITORY, [Visit(endpoint, (Run(scenario, 1, 1, path),))])
        argv = (str(cluster.tool), "exec", sys.executable, "-m", "loadtest.locustfile", str(plan))
        running.append(subprocess.Popen(argv, cwd=ROOT))
    try:
        time.sleep(5)
        yield results
        for process in running:
            assert process.wait(timeout=scenario.seconds + 60) == 0
        for name in names:
            results[name] = json.loads((folder / f"{name.replace('/', '__')}.json").read_bytes())
    finally:
        for process in running:
            process.kill()
            process.wait()


def lost(results: dict[str, Any]) -> tuple[int, int, int]:
    """Requests, failures and wrong answers of all."""
    requests, failures, wrong = (
        sum(result[key] for result in results.values()) for key in ("requests", "failures", "wrong_answers")
    )
    return requests, failures, wrong


def model_image(tmp_path: Path, cluster: Cluster, tag: str, change: Callable[[Path, dict[str, Any]], None]) -> str:
    """Build and load a models image whose artifacts `change` has changed."""
    (tmp_path / "artifacts").mkdir()
    subprocess.run(("cp", "-r", str(MODEL_REPOSITORY), str(tmp_path / "artifacts" / "model_repository")), check=True)
    subprocess.run(("cp", "-r", str(ROOT / "k8s"), str(tmp_path / "k8s")), check=True)
    for path in tmp_path.glob("artifacts/model_repository/*/manifest.json"):
        manifest = json.loads(path.read_text())
        change(path.parent, manifest)
        path.write_text(to_json(manifest))
    image = reference("models").rpartition(":")[0] + f":{tag}"
    dockerfile = str(ROOT / "k8s" / "images" / "models" / "Dockerfile")
    assert cluster.tool
    subprocess.run((cluster.tool, "build", "-q", "-t", image, "-f", dockerfile, str(tmp_path)), check=True)
    subprocess.run((cluster.tool, "load", image), check=True)
    return image


def second_version(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "1").rename(folder / "2")
    manifest["version"] = "2"
    manifest["sha256"] = {f"2/{name.partition('/')[2]}": value for name, value in manifest["sha256"].items()}


def wrong_sha256(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["sha256"] = dict.fromkeys(manifest["sha256"], "0" * 64)


def set_models(cluster: Cluster, image: str) -> None:
    cluster.run("set", "image", "deployment/onnxruntime", f"models={image}")


def served_versions(cluster: Cluster) -> list[str]:
    url = f"http://onnxruntime.{NAMESPACE}:8000/v2/models/pytorch-onnx"
    argv = (str(cluster.tool), "exec", "curl", "-fsS", "-m", "5", url)
    versions: list[str] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["versions"]
    return versions


def keep_replicas(cluster: Cluster, minimum: int) -> None:
    patch = json.dumps({"spec": {"minReplicas": minimum}})
    cluster.run("patch", "hpa/onnxruntime", "--type=merge", "-p", patch)


def replicas(cluster: Cluster) -> int:
    count: int = cluster.get("deployment/onnxruntime")[0].get("status", {}).get("readyReplicas", 0)
    return count


def utilization(cluster: Cluster) -> int | None:
    """The share of the requested processor time that the autoscaler sees, None while it sees none."""
    seen: int | None = cluster.get("hpa/onnxruntime")[0]["status"].get("currentCPUUtilizationPercentage")
    return seen


def process_in(pod: dict[str, Any]) -> psutil.Process:
    """The server's first process, found by the pod's uid in its control group and by what it runs."""
    uid = pod["metadata"]["uid"]
    for process in psutil.process_iter():
        groups = Path(f"/proc/{process.pid}/cgroup")
        if groups.is_file() and uid in groups.read_text() and "serving.servers.onnxruntime" in process.cmdline():
            return process
    raise AssertionError(f"no server's process of pod {pod['metadata']['name']}")


def test_every_server_becomes_ready(deployed: dict[str, float]) -> None:
    assert sorted(deployed) == list_servers()
    report(ready_s=deployed)


def test_load_test_finds_no_fault(cluster: Cluster, deployed: dict[str, float]) -> None:
    folder, right = run_loadtest(cluster, "ci", "smoke", [], timeout_s=900)
    assert right
    comparison = json.loads((find_comparison(folder) / "comparison.json").read_text())
    assert comparison["environment"]["cluster"]["nodes"]
    results = [json.loads(path.read_bytes()) for path in folder.glob("*__*__*/*.json")]
    assert {result["endpoint"]["server"] for result in results} == set(list_servers())
    assert all(result["failures"] == result["wrong_answers"] == 0 for result in results)
    assert max(result["client"]["workers"] for result in results) == 2
    report(loadtest={"runs": len(results), "requests": sum(result["requests"] for result in results)})


def test_rolling_update_loses_no_request(cluster: Cluster, deployed: dict[str, float], tmp_path: Path) -> None:
    image = model_image(tmp_path, cluster, "second", second_version)
    assert served_versions(cluster) == ["1"]
    with load(cluster, tmp_path, Open(RATE_RPS, 45), REST, GRPC) as results:
        began_s = time.monotonic()
        set_models(cluster, image)
        wait_ready(cluster, ["onnxruntime"], began_s, 120)
        took_s = time.monotonic() - began_s
        assert served_versions(cluster) == ["2"]
    requests, failures, wrong = lost(results)
    report(rolling_update={"requests": requests, "failures": failures, "wrong_answers": wrong, "seconds": took_s})
    assert (failures, wrong) == (0, 0), [result["explanations"] for result in results.values()]


def test_broken_version_never_becomes_ready(cluster: Cluster, deployed: dict[str, float], tmp_path: Path) -> None:
    image = model_image(tmp_path, cluster, "broken", wrong_sha256)
    before = served_versions(cluster)
    with load(cluster, tmp_path, Open(RATE_RPS, 30), REST) as results:
        set_models(cluster, image)
        with pytest.raises(StageError, match=r"sha256 .*the manifest says 000000000000"):
            wait_ready(cluster, ["onnxruntime"], time.monotonic(), 15)
        assert served_versions(cluster) == before
    cluster.run("rollout", "undo", "deployment/onnxruntime")
    wait_ready(cluster, ["onnxruntime"], time.monotonic(), 60)
    requests, failures, wrong = lost(results)
    report(broken_version={"requests": requests, "failures": failures, "wrong_answers": wrong})
    assert (failures, wrong) == (0, 0), [result["explanations"] for result in results.values()]


def test_killed_server_comes_back(cluster: Cluster, deployed: dict[str, float], tmp_path: Path) -> None:
    keep_replicas(cluster, 2)
    wait_until(lambda: replicas(cluster) == 2, 60)
    with load(cluster, tmp_path, Open(RATE_RPS, 30), REST) as results:
        pod = cluster.get("pods", "-l", "app.kubernetes.io/name=onnxruntime")[0]
        os.kill(process_in(pod).pid, signal.SIGKILL)
        wait_until(lambda: replicas(cluster) == 1, 20)
        back_s = wait_until(lambda: replicas(cluster) == 2, 60)
    requests, failures, wrong = lost(results)
    report(kill={"requests": requests, "failures": failures, "wrong_answers": wrong, "ready_again_s": back_s})
    assert wrong == 0
    assert failures < requests / 20


def test_drain_is_held_by_the_disruption_budget(cluster: Cluster, deployed: dict[str, float], tmp_path: Path) -> None:
    keep_replicas(cluster, 2)
    wait_until(lambda: replicas(cluster) == 2, 60)
    node = cluster.get("nodes")[0]["metadata"]["name"]
    select = ("--pod-selector=app.kubernetes.io/name=onnxruntime", "--delete-emptydir-data", "--timeout=20s")
    try:
        with load(cluster, tmp_path, Open(RATE_RPS, 40), REST) as results:
            with pytest.raises(StageError, match="disruption budget"):
                cluster.run("drain", node, *select)
            assert replicas(cluster) == 1
    finally:
        cluster.run("uncordon", node)
    wait_until(lambda: replicas(cluster) == 2, 60)
    requests, failures, wrong = lost(results)
    report(drain={"requests": requests, "failures": failures, "wrong_answers": wrong, "left": 1})
    assert (failures, wrong) == (0, 0), [result["explanations"] for result in results.values()]


def test_autoscaler_goes_up_and_down(cluster: Cluster, deployed: dict[str, float], tmp_path: Path) -> None:
    keep_replicas(cluster, 1)
    wait_until(lambda: replicas(cluster) == 1 and utilization(cluster) is not None, 180)
    with load(cluster, tmp_path, Closed(16, 90), REST):
        up_s = wait_until(lambda: replicas(cluster) >= 2, 90)
        most = replicas(cluster)
    down_s = wait_until(lambda: replicas(cluster) == 1, 240)
    report(autoscaling={"up_s": up_s, "most": most, "down_s": down_s})
