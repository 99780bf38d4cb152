"""Run the load test in the cluster: start the Job, follow it, copy the results out, add the cluster's facts.

Reads `k8s/overlays/<overlay>/loadtest`; writes `artifacts/<model>/results/<comparison>/` in the form of every
comparison, so that the same report is made of it (`python -m loadtest report`).
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract import RESULTS, StageError, to_json, write_whole
from k8s.cluster import Cluster, folder_of, render
from k8s.deploy import LOG_LINES, containers_of, explain, load_images, mark_images
from k8s.facts import cluster_facts, throttled_s

JOB, WORKERS = "loadtest", "loadtest-worker"
OF_OUR_OWN = "serving-comparison-"
INSIDE = "/results/mnist/results/cluster"
POLL_S = 1.0


def run_loadtest(
    cluster: Cluster, overlay: str, profile: str, servers: list[str], timeout_s: float
) -> tuple[Path, bool]:
    """Measure `servers` (all where empty): the folder of the results, and whether all answers were right."""
    folder = folder_of(overlay, "loadtest")
    objects = render(folder)
    if cluster.tool:
        mark_images(objects, load_images(cluster.tool, objects))
    before = throttled_s(cluster)
    cluster.run("delete", f"job/{JOB}", "--ignore-not-found", "--wait=true")
    settings = {"PROFILE": profile, "SERVERS": " ".join(servers), "ENGINES": json.dumps(_engines(cluster))}
    cluster.apply(_configured(objects, settings))
    pod = _wait_for_results(cluster, timeout_s)
    name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{overlay}"
    target = _copy_out(cluster, pod, RESULTS / name)
    facts = {**cluster_facts(cluster), "throttled_s": _differences(before, throttled_s(cluster))}
    _rename(target, name, facts)
    cluster.run("exec", pod, "-c", "master", "--", "touch", f"{INSIDE}/collected")
    print(_log(cluster, pod))
    cluster.run("scale", f"deployment/{WORKERS}", "--replicas=0")  # they would go on looking for a master
    return target, _ended_well(cluster)


def _configured(objects: list[dict[str, Any]], settings: dict[str, str]) -> list[dict[str, Any]]:
    """The objects, the Job's variables replaced by `settings`."""
    for item in objects:
        if item["kind"] == "Job":
            container = item["spec"]["template"]["spec"]["containers"][0]
            kept = [entry for entry in container["env"] if entry["name"] not in settings]
            container["env"] = [*kept, *({"name": name, "value": value} for name, value in settings.items())]
    return objects


def _engines(cluster: Cluster) -> dict[str, str]:
    """The engine of each server that is not the project's own build: `docker`, by its image."""
    images = {d["metadata"]["name"]: containers_of(d)[-1]["image"] for d in cluster.get("deployments")}
    return {name: "docker" for name, image in images.items() if OF_OUR_OWN not in image}


def _wait_for_results(cluster: Cluster, timeout_s: float) -> str:
    """Follow the Job until its results are complete: the name of its pod."""
    deadline_s = time.monotonic() + timeout_s
    with tqdm(desc="load test", unit="run", file=sys.stderr) as bar:
        while time.monotonic() < deadline_s:
            for pod in cluster.get("pods", "-l", f"job-name={JOB}"):
                name: str = pod["metadata"]["name"]
                if pod["status"]["phase"] == "Failed":
                    raise StageError(f"the load test failed:\n{explain(cluster, JOB)}")
                count = f"ls {INSIDE}/*__*/*.json 2>/dev/null | wc -l; ls {INSIDE}/complete 2>/dev/null"
                words = cluster.run("exec", name, "-c", "master", "--", "sh", "-c", count, check=False).split()
                if words:
                    bar.update(int(words[0]) - bar.n)
                if len(words) > 1:
                    return name
            time.sleep(POLL_S)
    raise StageError(f"the load test was not done after {timeout_s:.0f} s:\n{explain(cluster, JOB)}")


def _copy_out(cluster: Cluster, pod: str, target: Path) -> Path:
    archive = cluster.run_bytes("exec", pod, "-c", "master", "--", "tar", "-C", INSIDE, "-cf", "-", ".")
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(target, filter="data")
    return target


def _rename(folder: Path, name: str, facts: dict[str, Any]) -> None:
    """Give the comparison its name here, and every result the cluster's facts."""
    for path in (folder / "comparison.json", *folder.glob("*__*__*/*.json")):
        record = json.loads(path.read_bytes())
        record["name" if path.name == "comparison.json" else "comparison"] = name
        if record.get("environment"):
            record["environment"]["cluster"] = facts
        write_whole(path, to_json(record).encode())


def _differences(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {pod: round(value - before.get(pod, 0.0), 3) for pod, value in sorted(after.items())}


def _log(cluster: Cluster, pod: str) -> str:
    lines = cluster.run("logs", pod, "-c", "master").splitlines()
    figures = [line for line in lines if " requests, " in line or " FAILED: " in line]
    return "\n".join(figures or lines[-LOG_LINES:])


def _ended_well(cluster: Cluster) -> bool:
    """Wait for the Job's end: whether it succeeded."""
    for _ in range(60):
        status = cluster.get(f"job/{JOB}")[0].get("status", {})
        if status.get("succeeded") or status.get("failed"):
            return bool(status.get("succeeded"))
        time.sleep(POLL_S)
    raise StageError(f"the Job {JOB} has its results but does not end:\n{explain(cluster, JOB)}")
