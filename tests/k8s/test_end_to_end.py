"""The whole road on a real cluster: build, deploy, measure, roll, break, kill, drain, scale and train.

Not part of the plain suite: `make test-k8s` runs it. Figures go to `artifacts/k8s/end_to_end.json`. The tests follow a
cluster's life: each leaves it to the next with every server Ready, and says itself how many pods it wants.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract import FRAMEWORKS, StageError
from k8s.cluster import NAMESPACE, Cluster
from k8s.deploy import wait_ready
from k8s.loadtest import run_loadtest
from k8s.training import figures, train
from loadtest.analysis.summary import find_comparison
from loadtest.report.command import main as render_report
from loadtest.scenarios import Closed, Open
from serving.repository import read_artifacts
from serving.server import find_server, list_servers

pytestmark = pytest.mark.cluster
RATE = Open(25, 5)
PAIRS = [list_servers()[first : first + 2] for first in range(0, len(list_servers()), 2)]
"""Two servers at a time, one a core: the light ones, then the heavy ones."""
STATUS_PATHS = {"onnxruntime": "/v2/models/{}", "tflite": "/v2/models/{}", "tfserving": "/v1/models/{}"}
PROCESSES = {"torchserve": "java"}
"""The server's process where it is not the container's first."""


def wait_until(condition: Callable[[], Any], timeout_s: float) -> float:
    """Seconds until `condition` holds; fails after `timeout_s`."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.5)
    return time.monotonic() - began_s


def wait_until_all(
    condition: Callable[[str], Any], names: list[str], began_s: float, timeout_s: float
) -> dict[str, float]:
    """Seconds since `began_s` until `condition` holds, by name; fails after `timeout_s`."""
    ready_s: dict[str, float] = {}
    while waiting := [name for name in names if name not in ready_s]:
        ready_s |= {name: time.monotonic() - began_s for name in waiting if condition(name)}
        assert time.monotonic() - began_s < timeout_s, f"{waiting}: not within {timeout_s} s"
        time.sleep(0.5)
    return ready_s


def sums_of(results: dict[str, Any], server: str = "") -> dict[str, int]:
    """Requests, failures and wrong answers of one server's endpoints, of all where none is named."""
    rows = [result for name, pieces in results.items() if name.startswith(server) for result in pieces]
    return {key: sum(result[key] for result in rows) for key in ("requests", "failures", "wrong_answers")}


def lost(results: dict[str, Any]) -> dict[str, Any]:
    """By endpoint, what the failed requests and the wrong answers were; empty where there are none."""
    faulty = {name: [r for r in pieces if r["failures"] + r["wrong_answers"]] for name, pieces in results.items()}
    return {name: [r["explanations"] for r in pieces] for name, pieces in faulty.items() if pieces}


def artifacts_of(server: str) -> list[str]:
    """The artifacts that a server hosts."""
    return [name for name, manifest in read_artifacts().items() if manifest.format in find_server(server).formats]


def endpoints_of(server: str) -> tuple[str, str]:
    """An endpoint over REST and one over gRPC, of different artifacts where there are two."""
    artifacts = artifacts_of(server)
    return f"{server}/{artifacts[0]}/rest", f"{server}/{artifacts[-1]}/grpc"


def served_version(cluster: Cluster, server: str) -> str:
    """The version that the server says it serves; TorchServe's archives tell none, so there what it was delivered."""
    artifact = artifacts_of(server)[0]
    if server not in STATUS_PATHS:
        path = f"/models/{artifact}/manifest.json"
        manifest = json.loads(cluster.run("exec", f"deployment/{server}", "-c", "server", "--", "cat", path))
        return str(manifest["version"])
    url = f"http://{server}.{NAMESPACE}:{find_server(server).ports['rest']}{STATUS_PATHS[server].format(artifact)}"
    argv = (str(cluster.tool), "exec", "curl", "-fsS", "-m", "5", url)
    answer = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    versions = answer.get("versions") or [state["version"] for state in answer["model_version_status"]]
    return " ".join(versions)


def pods_of(cluster: Cluster, server: str) -> list[dict[str, Any]]:
    return cluster.get("pods", "-l", f"app.kubernetes.io/name={server}")


def ready_pods(cluster: Cluster, server: str) -> int:
    count: int = cluster.get(f"deployment/{server}")[0].get("status", {}).get("readyReplicas", 0)
    return count


def ask_for(cluster: Cluster, server: str, least: int, most: int) -> None:
    """Let the autoscaler choose between `least` and `most` pods."""
    patch = json.dumps({"spec": {"minReplicas": least, "maxReplicas": most}})
    cluster.run("patch", f"hpa/{server}", "--type=merge", "-p", patch)


def hold(cluster: Cluster, server: str, count: int) -> None:
    """Have exactly `count` pods of a server, all Ready, none on its way out."""
    ask_for(cluster, server, count, count)
    wait_until(lambda: ready_pods(cluster, server) == len(pods_of(cluster, server)) == count, 180)


def utilization(cluster: Cluster) -> int | None:
    """The share of the requested processor time that the autoscaler sees, None while it sees none."""
    seen: int | None = cluster.get("hpa/onnxruntime")[0]["status"].get("currentCPUUtilizationPercentage")
    return seen


def process_in(pod: dict[str, Any], name: str | None) -> psutil.Process:
    """The process called `name` in the pod's container, or the container's first; found by the control group's name."""
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    for process in psutil.process_iter():
        groups = Path(f"/proc/{process.pid}/cgroup")
        if groups.is_file() and container in groups.read_text() and name in (None, process.name()):
            return process
    raise AssertionError(f"no process {name} of pod {pod['metadata']['name']}")


def restarted(cluster: Cluster, pod: dict[str, Any]) -> bool:
    """Whether the pod's server was started again since, and is Ready."""
    now = cluster.get(f"pod/{pod['metadata']['name']}")[0]["status"]["containerStatuses"][0]
    return bool(now["ready"] and now["restartCount"] > pod["status"]["containerStatuses"][0]["restartCount"])


def test_every_server_becomes_ready(deployed: dict[str, float], report: Callable[..., None]) -> None:
    assert sorted(deployed) == list_servers()
    report(ready_s=deployed)


def test_load_test_finds_no_fault(
    cluster: Cluster, overlay: str, deployed: dict[str, float], tmp_path: Path, report: Callable[..., None]
) -> None:
    began_s = time.monotonic()
    folder, right = run_loadtest(cluster, overlay, "smoke", [], timeout_s=900)
    assert right
    comparison = json.loads((find_comparison(folder) / "comparison.json").read_text())
    assert comparison["environment"]["cluster"]["nodes"]
    results = [json.loads(path.read_bytes()) for path in folder.glob("*__*__*/*.json")]
    assert {result["endpoint"]["server"] for result in results} == set(list_servers())
    assert all(result["failures"] == result["wrong_answers"] == 0 for result in results)
    assert max(result["client"]["workers"] for result in results) == 2
    assert "open" in {result["scenario_name"] for result in results}
    assert render_report(["--results", str(folder), "--output", str(tmp_path)]) == 0
    endpoints = {result["endpoint"]["name"] for result in results}
    assert {row["name"] for row in json.loads((tmp_path / "report.json").read_text())["endpoints"]} == endpoints
    requests = sum(result["requests"] for result in results)
    took_s = time.monotonic() - began_s
    report(loadtest={"endpoints": len(endpoints), "runs": len(results), "requests": requests, "seconds": took_s})


@pytest.mark.parametrize("servers", PAIRS, ids=" ".join)
def test_rolling_update_loses_no_request(
    servers: list[str], cluster: Cluster, deployed: Any, second_models: str, load: Any, report: Callable[..., None]
) -> None:
    for server in servers:
        hold(cluster, server, 1)
        assert served_version(cluster, server) == "1"
    with load(RATE, *(endpoint for server in servers for endpoint in endpoints_of(server))) as results:
        began_s = time.monotonic()
        for server in servers:
            cluster.run("set", "image", f"deployment/{server}", f"models={second_models}")
        ready_s = wait_ready(cluster, servers, began_s, 180)
        gone_s = wait_until_all(lambda server: len(pods_of(cluster, server)) == 1, servers, began_s, 180)
        assert {served_version(cluster, server) for server in servers} == {"2"}
    for server in servers:
        times = {"ready_s": ready_s[server], "old_one_gone_s": gone_s[server]}
        report(rolling_update={server: {**sums_of(results, server), **times}})
    assert lost(results) == {}


def test_broken_version_never_becomes_ready(
    cluster: Cluster, deployed: Any, broken_models: str, load: Any, report: Callable[..., None]
) -> None:
    before = {server: served_version(cluster, server) for server in list_servers()}
    with load(RATE, *(endpoints_of(server)[0] for server in list_servers())) as results:
        for server in list_servers():
            cluster.run("set", "image", f"deployment/{server}", f"models={broken_models}")
        with pytest.raises(StageError, match=r"sha256 .*the manifest says 000000000000") as refused:
            wait_ready(cluster, list_servers(), time.monotonic(), 25)
        assert f"not Ready after 25 s: {', '.join(list_servers())}" in str(refused.value)
        assert {server: served_version(cluster, server) for server in list_servers()} == before
        for server in list_servers():
            cluster.run("rollout", "undo", f"deployment/{server}")
        wait_ready(cluster, list_servers(), time.monotonic(), 90)
    report(broken_version=sums_of(results))
    assert lost(results) == {}


@pytest.mark.parametrize("servers", PAIRS, ids=" ".join)
def test_killed_server_comes_back(
    servers: list[str], cluster: Cluster, deployed: Any, load: Any, report: Callable[..., None]
) -> None:
    for server in servers:
        ask_for(cluster, server, 2, 2)
    for server in servers:
        hold(cluster, server, 2)
    with load(RATE, *(endpoints_of(server)[0] for server in servers)) as results:
        pods = {server: pods_of(cluster, server)[0] for server in servers}
        began_s = time.monotonic()
        for server, pod in pods.items():
            os.kill(process_in(pod, PROCESSES.get(server)).pid, signal.SIGKILL)
        back_s = wait_until_all(lambda server: restarted(cluster, pods[server]), servers, began_s, 180)
    for server in servers:
        report(kill={server: {**sums_of(results, server), "ready_again_s": back_s[server]}})
        ask_for(cluster, server, 1, 1)
    assert sums_of(results)["wrong_answers"] == 0
    assert all(sums_of(results, s)["failures"] < sums_of(results, s)["requests"] / 10 for s in servers), lost(results)


def test_drain_is_held_by_the_disruption_budget(
    cluster: Cluster, deployed: Any, load: Any, report: Callable[..., None]
) -> None:
    hold(cluster, "onnxruntime", 2)
    node = cluster.get("nodes")[0]["metadata"]["name"]
    select = ("--pod-selector=app.kubernetes.io/name=onnxruntime", "--delete-emptydir-data", "--timeout=20s")
    try:
        with load(RATE, endpoints_of("onnxruntime")[0]) as results:
            with pytest.raises(StageError, match="disruption budget"):
                cluster.run("drain", node, *select)
            assert ready_pods(cluster, "onnxruntime") == 1
    finally:
        cluster.run("uncordon", node)
    report(drain={**sums_of(results), "pods_left": 1})
    assert lost(results) == {}


def test_autoscaler_goes_up_and_down(cluster: Cluster, deployed: Any, load: Any, report: Callable[..., None]) -> None:
    hold(cluster, "onnxruntime", 1)
    wait_until(lambda: utilization(cluster) is not None, 180)
    ask_for(cluster, "onnxruntime", 1, 3)
    with load(Closed(16, 5), endpoints_of("onnxruntime")[0]) as results:
        up_s = wait_until(lambda: ready_pods(cluster, "onnxruntime") >= 2, 120)
    most = ready_pods(cluster, "onnxruntime")
    down_s = wait_until(lambda: ready_pods(cluster, "onnxruntime") == 1, 240)
    report(autoscaling={"up_s": up_s, "most_pods": most, "down_s": down_s, "requests": sums_of(results)["requests"]})
    assert sums_of(results)["wrong_answers"] == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_twin_is_trained_on_two_workers(
    framework: str, cluster: Cluster, overlay: str, deployed: Any, report: Callable[..., None]
) -> None:
    began_s = time.monotonic()
    manifest = train(cluster, overlay, [framework], timeout_s=300)[framework]
    run = figures(manifest)
    report(training={framework: {**run, "from_nothing_s": time.monotonic() - began_s}})
    assert run["workers"] == 2
    assert manifest.test_accuracy is not None
    assert manifest.test_accuracy > 0.9
