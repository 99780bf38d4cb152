"""What a result was measured on: machine, cores, pinning, versions and commit, so that it explains itself."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from contract import ROOT

PACKAGES = (
    "ai-edge-litert", "gevent", "grpcio", "hpack", "httptools", "keras", "locust", "numpy", "onnx", "onnxruntime",
    "orjson", "protobuf", "tensorflow", "tensorflow-serving-api", "tf2onnx", "torch", "torchserve", "uvloop",
)  # fmt: skip


def pinning() -> tuple[list[int] | None, list[int] | None]:
    """Cores for the server and for the load generator: the last one for the generator; (None, None)
    with a single core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[:-1], cpus[-1:]) if len(cpus) > 1 else (None, None)


def environment(server_cpus: list[int] | None, client_cpus: list[int] | None) -> dict[str, Any]:
    """The report's `environment`."""
    cluster = os.environ.get("CLUSTER")
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "kernel": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "pinning": {"server_cpus": server_cpus, "client_cpus": client_cpus},
        "versions": versions(),
        "git_commit": _git("rev-parse", "--short=12", "HEAD"),
        "git_dirty": None
        if (changed := _git("status", "--porcelain", "--untracked-files=no")) is None
        else changed != "",
        "cluster": json.loads(cluster) if cluster else None,
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that bear on a result."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _git(*words: str) -> str | None:
    """What git says, or None where this is no checkout or git is not installed."""
    try:
        answer = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
