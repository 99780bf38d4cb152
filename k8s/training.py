"""Train the twins in the cluster, each on the workers of its Job, and copy the models out.

Reads `k8s/overlays/<overlay>/training`; writes `artifacts/models-cluster/<framework>/`. Before Kubernetes 1.21 there
are no Indexed Jobs: each index is a plain pod of the same containers there.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from typing import Any

from tqdm import tqdm

from contract import ARTIFACTS, FRAMEWORKS, Manifest, StageError
from k8s.cluster import Cluster, folder_of, render
from k8s.deploy import explain, load_images

MODELS_FROM_CLUSTER = ARTIFACTS / "models-cluster"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEXED_SINCE = (1, 21)
POLL_S = 1.0


def train(cluster: Cluster, overlay: str, frameworks: list[str], timeout_s: float) -> dict[str, Manifest]:
    """Train `frameworks` (both where empty) one after the other: the manifest of each, its files copied out."""
    chosen = frameworks or list(FRAMEWORKS)
    objects = render(folder_of(overlay, "training"))
    jobs = {o["metadata"]["name"].removeprefix("training-"): o for o in objects if o["kind"] == "Job"}
    if unknown := set(chosen) - jobs.keys():
        raise StageError(f"no twin {', '.join(sorted(unknown))}: choose from {', '.join(sorted(jobs))}")
    if cluster.tool:
        load_images(cluster.tool, [jobs[framework] for framework in chosen])
    cluster.apply([item for item in objects if item["kind"] != "Job"])
    return {framework: _train_one(cluster, framework, jobs[framework], timeout_s) for framework in chosen}


def plain_pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """What an Indexed Job makes: a pod an index, with the name, the annotation and the variable that tell which."""
    name, template = job["metadata"]["name"], job["spec"]["template"]
    pods = []
    for index in range(job["spec"]["completions"]):
        pod = json.loads(json.dumps(template))
        metadata = {"name": f"{name}-{index}", "namespace": job["metadata"]["namespace"]}
        pod["metadata"] |= {**metadata, "annotations": {INDEX: str(index)}}
        pod["spec"]["hostname"] = f"{name}-{index}"
        for container in pod["spec"]["containers"]:
            container["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        pods.append({"apiVersion": "v1", "kind": "Pod", **pod})
    return pods


def _train_one(cluster: Cluster, framework: str, job: dict[str, Any], timeout_s: float) -> Manifest:
    name = job["metadata"]["name"]
    _delete(cluster, name)
    cluster.apply([job] if _version(cluster) >= INDEXED_SINCE else plain_pods(job))
    pod = _wait_for_model(cluster, name, timeout_s)
    archive = cluster.run_bytes("exec", pod, "--", "tar", "-C", f"/artifacts/mnist/models/{framework}", "-cf", "-", ".")
    target = MODELS_FROM_CLUSTER / framework
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(target, filter="data")
    cluster.run("exec", pod, "--", "touch", "/artifacts/collected")
    _wait_for_end(cluster, name)
    _delete(cluster, name)
    manifest = Manifest.read(target, f"python -m k8s train {framework}")
    manifest.check_files(target, f"python -m k8s train {framework}")
    return manifest


def _wait_for_model(cluster: Cluster, name: str, timeout_s: float) -> str:
    """Follow the workers until the first one has its model: that one's pod."""
    deadline_s = time.monotonic() + timeout_s
    with tqdm(desc=name, unit="s", bar_format="{desc}: {elapsed} {postfix}", file=sys.stderr) as bar:
        while time.monotonic() < deadline_s:
            for pod in _pods(cluster, name):
                if pod["status"]["phase"] == "Failed":
                    raise StageError(f"{name} failed:\n{explain(cluster, name)}")
                if pod["metadata"].get("annotations", {}).get(INDEX) != "0":
                    continue
                first: str = pod["metadata"]["name"]
                bar.set_postfix_str(pod["status"]["phase"])
                if cluster.run("exec", first, "--", "sh", "-c", "ls /artifacts/complete 2>/dev/null", check=False):
                    return first
            time.sleep(POLL_S)
            bar.update()
    raise StageError(f"{name} was not done after {timeout_s:.0f} s:\n{explain(cluster, name)}")


def _wait_for_end(cluster: Cluster, name: str) -> None:
    """Wait until every worker has ended well."""
    for _ in range(60):
        phases = {pod["status"]["phase"] for pod in _pods(cluster, name)}
        if phases == {"Succeeded"}:
            return
        if "Failed" in phases:
            break
        time.sleep(POLL_S)
    raise StageError(f"{name} has its model, but a worker did not end well:\n{explain(cluster, name)}")


def _pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    return cluster.get("pods", "-l", f"app.kubernetes.io/name={name}")


def _delete(cluster: Cluster, name: str) -> None:
    """Remove the Job and its pods, or the plain ones."""
    cluster.run("delete", f"job/{name}", "--ignore-not-found", "--wait=true")
    cluster.run("delete", "pods", "-l", f"app.kubernetes.io/name={name}", "--wait=true")


def _version(cluster: Cluster) -> tuple[int, int]:
    """The API server's, as (1, 28)."""
    server = json.loads(cluster.run("version", "-o", "json"))["serverVersion"]
    return int(server["major"]), int(server["minor"].rstrip("+"))


def figures(manifest: Manifest) -> dict[str, Any]:
    """What a person wants to see of a training run."""
    facts = manifest.training
    return {
        "workers": facts["workers"],
        "epochs": facts["epochs"],
        "images": facts["hyperparameters"]["images"],
        "seconds": facts["seconds"],
        "test_accuracy": manifest.test_accuracy,
    }
