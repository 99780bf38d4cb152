"""The facts about the cluster that go into a result: nodes, replicas, limits, and how long the quota throttled pods."""

from __future__ import annotations

from typing import Any

from k8s.cluster import Cluster

SERVERS = ("pods", "-l", "app.kubernetes.io/component=server", "--field-selector", "status.phase=Running")
CPU_STAT = "cat /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null"


def cluster_facts(cluster: Cluster) -> dict[str, Any]:
    """Nodes (kubelet, cores, memory), and per server its image, replicas, requests and limits."""
    return {
        "nodes": [_node(node) for node in cluster.get("nodes")],
        "servers": {d["metadata"]["name"]: _deployment(d) for d in cluster.get("deployments")},
        "pods": {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in cluster.get(*SERVERS)},
    }


def throttled_s(cluster: Cluster) -> dict[str, float]:
    """Seconds for which the quota throttled each server's container since its start, for the pods that say so."""
    seconds = {}
    for pod in cluster.get(*SERVERS):
        name = pod["metadata"]["name"]
        text = cluster.run("exec", name, "-c", "server", "--", "sh", "-c", CPU_STAT, check=False)
        stat = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
        if "throttled_usec" in stat:  # version 2 of the control groups
            seconds[name] = int(stat["throttled_usec"]) / 1e6
        elif "throttled_time" in stat:
            seconds[name] = int(stat["throttled_time"]) / 1e9
    return seconds


def _node(node: dict[str, Any]) -> dict[str, Any]:
    info, capacity = node["status"]["nodeInfo"], node["status"]["capacity"]
    return {
        "name": node["metadata"]["name"],
        "kubelet": info["kubeletVersion"],
        "runtime": info["containerRuntimeVersion"],
        "kernel": info["kernelVersion"],
        "cpu": capacity["cpu"],
        "memory": capacity["memory"],
    }


def _deployment(deployment: dict[str, Any]) -> dict[str, Any]:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {
        "image": container["image"],
        "replicas": deployment["spec"]["replicas"],
        "ready_replicas": deployment.get("status", {}).get("readyReplicas", 0),
        **container["resources"],
    }
