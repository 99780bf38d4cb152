"""Bring an overlay to a cluster and wait until every server is Ready; say why where one does not become so.

Reads `k8s/overlays/<overlay>` and the model repository. A server is left out where the repository has no artifact of
its formats: its pods could never become Ready. Changes the namespace `serving-comparison` of the named cluster alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from tqdm import tqdm

from contract import StageError
from k8s.cluster import NAMESPACE, Cluster, folder_of, render
from serving.repository import read_artifacts

POLL_S = 1.0
LOG_LINES = 15


def deploy(cluster: Cluster, overlay: str, timeout_s: float) -> dict[str, float]:
    """Apply the overlay and wait: seconds from the start to Ready by server; raises StageError with events and logs."""
    objects = render(folder_of(overlay))
    idle = servers_without_models(objects, {manifest.format for manifest in read_artifacts().values()})
    objects = [item for item in objects if item["metadata"]["name"] not in idle]
    for name, formats in sorted(idle.items()):
        print(f"{name} is left out: the model repository has no artifact of {formats}", file=sys.stderr)
    if cluster.tool:
        mark_images(objects, load_images(cluster.tool, objects))
    started_s = time.monotonic()
    print(cluster.apply(objects), end="", file=sys.stderr)
    names = sorted(o["metadata"]["name"] for o in objects if o["kind"] == "Deployment")
    return wait_ready(cluster, names, started_s, timeout_s)


def servers_without_models(objects: list[dict[str, Any]], formats: set[str]) -> dict[str, str]:
    """The Deployments whose init container would deliver nothing, and the formats that each asks for."""
    wanted = {
        item["metadata"]["name"]: pods["initContainers"][0]["args"][2:]
        for item in objects
        if item["kind"] == "Deployment" and (pods := item["spec"]["template"]["spec"]).get("initContainers")
    }
    return {name: " or ".join(names) for name, names in wanted.items() if names and not formats & set(names)}


def wait_ready(cluster: Cluster, names: list[str], started_s: float, timeout_s: float) -> dict[str, float]:
    """Wait until every replica of the newest version of the Deployments is Ready, a bar over them."""
    ready: dict[str, float] = {}
    with tqdm(total=len(names), desc="ready", unit="server", file=sys.stderr) as bar:
        while len(ready) < len(names):
            for deployment in cluster.get("deployments"):
                name = deployment["metadata"]["name"]
                if name in names and name not in ready and is_rolled_out(deployment):
                    ready[name] = time.monotonic() - started_s
                    bar.update()
            waiting = [name for name in names if name not in ready]
            bar.set_postfix_str(" ".join(waiting))
            if waiting and time.monotonic() - started_s > timeout_s:
                reasons = "\n".join(explain(cluster, name) for name in waiting)
                raise StageError(f"not Ready after {timeout_s:.0f} s: {', '.join(waiting)}\n{reasons}")
            if waiting:
                time.sleep(POLL_S)
    return ready


def is_rolled_out(deployment: dict[str, Any]) -> bool:
    """Whether all replicas of the newest version are Ready, with none of an older one left."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False  # the controller has not seen it yet
    return all(status.get(key, 0) == wanted for key in ("replicas", "updatedReplicas", "readyReplicas"))


def explain(cluster: Cluster, name: str) -> str:
    """The last events of `name`, then the last log lines of its containers."""
    lines = [f"--- {name}"]
    for pod in cluster.get("pods", "-l", f"app.kubernetes.io/name={name}"):
        pod_name = pod["metadata"]["name"]
        lines.append(f"pod {pod_name}: {pod['status'].get('phase')}")
        events = cluster.get("events", "--field-selector", f"involvedObject.name={pod_name}")
        lines += [f"  event {e['reason']}: {e['message']}" for e in events[-LOG_LINES:]]
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            log = cluster.run("logs", pod_name, "-c", container["name"], f"--tail={LOG_LINES}", check=False)
            lines += [f"  {container['name']} | {line}" for line in log.splitlines()]
    return "\n".join(lines)


def load_images(tool: str, objects: list[dict[str, Any]]) -> dict[str, str]:
    """Bring the images of all pods into the test cluster, which pulls none: the id of each, by its reference."""
    ids = {}
    for image in tqdm(sorted({c["image"] for o in objects for c in containers_of(o)}), desc="load", file=sys.stderr):
        for words in (("load", image), ("podman", "image", "inspect", "-f", "{{.Id}}", image)):
            done = subprocess.run((tool, *words), capture_output=True, text=True, check=False)
            if done.returncode:
                raise StageError(f"{image} can't be loaded: run `make images`\n{done.stderr.strip()}")
        ids[image] = done.stdout.strip()
    return ids


def mark_images(objects: list[dict[str, Any]], ids: dict[str, str]) -> None:
    """Note in each pod the ids of its images, so that an image that was rebuilt under the same tag rolls its pods."""
    for item in objects:
        if containers := containers_of(item):
            annotations = item["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations["serving-comparison/images"] = " ".join(ids[c["image"]][:12] for c in containers)


def containers_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Every container of a Deployment or a Job, the init containers first."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def status(cluster: Cluster) -> str:
    """What runs: deployments, pods, autoscalers, disruption budgets."""
    return cluster.run("get", "deployments,pods,horizontalpodautoscalers,poddisruptionbudgets,jobs", "-o", "wide")


def delete(cluster: Cluster, overlay: str) -> str:
    """Delete what `deploy` made, the namespace included, and wait until it is gone."""
    output = cluster.delete(folder_of(overlay))
    return output or f"nothing of {NAMESPACE} was there\n"
