"""The cluster that a command talks to, always one that the user named, and the manifests of an overlay.

Reads `k8s/overlays/<overlay>/` and KUBECONFIG. The overlay `ci` goes to the one-node test cluster whose command
CLUSTER_TOOL names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from contract import ROOT, StageError

OVERLAYS = ROOT / "k8s" / "overlays"
NAMESPACE = "serving-comparison"


@dataclass(frozen=True)
class Cluster:
    """How to run kubectl, apply and delete; `tool` is the command of the test cluster, None for any other."""

    kubectl: tuple[str, ...]
    tool: str | None = None

    def run(self, *arguments: str, check: bool = True) -> str:
        """The output of a kubectl command in the project's namespace; raises StageError with kubectl's message."""
        return self.run_bytes(*arguments, check=check).decode(errors="replace")

    def run_bytes(self, *arguments: str, check: bool = True) -> bytes:
        """The same, as bytes."""
        return _run((*self.kubectl, "-n", NAMESPACE, *arguments), check)

    def apply(self, objects: list[dict[str, Any]]) -> str:
        """Apply objects that were rendered here; returns kubectl's output."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifests.yaml"
            path.write_text(yaml.safe_dump_all(objects))
            argv = (self.tool, "apply", str(path)) if self.tool else (*self.kubectl, "apply", "-f", str(path))
            return _run(argv).decode()

    def delete(self, folder: Path) -> str:
        """Delete what `folder` renders to, and wait until it is gone."""
        words = (str(folder), "--ignore-not-found", "--wait=true")
        argv = (self.tool, "delete", *words) if self.tool else (*self.kubectl, "delete", "-k", *words)
        return _run(argv).decode()

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` finds, an empty list where there are none."""
        answer: dict[str, Any] = orjson.loads(self.run("get", *arguments, "-o", "json", "--ignore-not-found") or b"{}")
        items: list[dict[str, Any]] = answer.get("items", [answer] if answer else [])
        return items


def choose(overlay: str, environ: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster for `overlay`; raises StageError where the user named none: there is no silent default context."""
    if overlay == "ci":
        tool = environ.get("CLUSTER_TOOL", "")
        if not Path(tool).is_file():
            reason = f"CLUSTER_TOOL is {tool!r}, no file" if tool else "no test cluster was named"
            raise StageError(f"{reason}: set CLUSTER_TOOL to the test cluster's command, or choose another OVERLAY")
        return Cluster((tool, "kubectl"), tool)
    if not environ.get("KUBECONFIG"):
        raise StageError(
            "no cluster was named: set KUBECONFIG to the file of the cluster you mean, "
            f"e.g. `KUBECONFIG=~/.kube/config make k8s-deploy OVERLAY={overlay}`"
        )
    return Cluster((find_kubectl(),))


def folder_of(overlay: str, part: str = "") -> Path:
    """`k8s/overlays/<overlay>[/<part>]`; raises StageError with the overlays there are."""
    names = sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))
    if overlay not in names:
        raise StageError(f"no overlay {overlay!r}: choose OVERLAY from {', '.join(names)}")
    return OVERLAYS / overlay / part


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects that a folder of kustomize renders to."""
    return list(yaml.safe_load_all(_run((find_kubectl(), "kustomize", str(folder)))))


def find_kubectl() -> str:
    """kubectl on PATH, or the one beside this Python."""
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if kubectl is None:
        raise StageError("no `kubectl` on PATH: install it, or run `make install`")
    return kubectl


def _run(argv: tuple[str, ...], check: bool = True) -> bytes:
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode and check:
        message = done.stderr.decode(errors="replace").strip()
        raise StageError(f"`{' '.join(Path(argv[0]).name if a == argv[0] else a for a in argv)}` failed:\n{message}")
    return done.stdout
