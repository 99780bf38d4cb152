"""Holds manifests, images and the server registry together, and every pod to the same hardening."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from contract import ROOT
from k8s.build import DOCKERFILE, list_images
from k8s.cluster import OVERLAYS
from k8s.deploy import containers_of, servers_without_models
from serving.server import find_server, list_servers

SERVERS = list_servers()
OF_OUR_OWN = "serving-comparison-"
KUSTOMIZATIONS = [*OVERLAYS.rglob("kustomization.yaml"), *(ROOT / "tests" / "k8s" / "variants").rglob("*.yaml")]


def pods(manifests: Any) -> list[dict[str, Any]]:
    return [m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("Deployment", "Job", "StatefulSet")]


def find(manifests: Any, kind: str, name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = next(m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return manifest


def server_container(base: list[dict[str, Any]], name: str) -> dict[str, Any]:
    container: dict[str, Any] = find(base, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return container


def test_every_server_is_deployed(base: list[dict[str, Any]]) -> None:
    assert sorted(m["metadata"]["name"] for m in base if m["kind"] == "Deployment") == SERVERS


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "ServiceAccount"])
@pytest.mark.parametrize("name", SERVERS)
def test_server_has_its(kind: str, name: str, base: list[dict[str, Any]]) -> None:
    assert find(base, kind, name)


@pytest.mark.parametrize("name", SERVERS)
def test_ports_are_the_registrys(name: str, base: list[dict[str, Any]]) -> None:
    ports = {p["name"]: p["containerPort"] for p in server_container(base, name)["ports"]}
    registered = find_server(name).ports
    assert ports.items() <= registered.items()
    assert set(find_server(name).protocols.values()) <= ports.keys()
    assert {p["name"]: p["port"] for p in find(base, "Service", name)["spec"]["ports"]} == ports


@pytest.mark.parametrize("name", SERVERS)
def test_management_is_reachable_from_nowhere(name: str, base: list[dict[str, Any]]) -> None:
    assert not [p for p in server_container(base, name)["ports"] if "management" in p["name"]]


@pytest.mark.parametrize("name", SERVERS)
def test_models_are_delivered_in_the_servers_format(name: str, base: list[dict[str, Any]]) -> None:
    init = find(base, "Deployment", name)["spec"]["template"]["spec"]["initContainers"][0]
    assert tuple(init["args"][2:]) == tuple(find_server(name).formats)


def test_servers_without_a_model_are_left_out(base: list[dict[str, Any]]) -> None:
    assert servers_without_models(base, {"savedmodel", "torchscript", "onnx", "tflite"}) == {}
    left_out = servers_without_models(base, {"onnx"})
    assert left_out == {"tflite": "tflite", "tfserving": "savedmodel", "torchserve": "torchscript"}


@pytest.mark.parametrize("name", SERVERS)
def test_probes_ask_for_more_than_a_process(name: str, base: list[dict[str, Any]]) -> None:
    container = server_container(base, name)
    ready, live = container["readinessProbe"], container["livenessProbe"]
    assert container["startupProbe"].get("httpGet") == ready.get("httpGet")
    assert ready.get("httpGet", {}).get("path") not in ("/", "/ping", "/v2/health/live")
    assert live["httpGet"]["path"] != ready.get("httpGet", {}).get("path"), "a missing model is no reason to kill"


@pytest.mark.parametrize("name", SERVERS)
def test_rolling_update_loses_no_replica(name: str, base: list[dict[str, Any]]) -> None:
    deployment = find(base, "Deployment", name)["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["replicas"] >= 2
    assert "preStop" in deployment["template"]["spec"]["containers"][0]["lifecycle"]


@pytest.mark.parametrize("name", SERVERS)
def test_threads_follow_the_cpu_limit(name: str, base: list[dict[str, Any]]) -> None:
    container = server_container(base, name)
    cpus = next(e for e in container["env"] if e["name"] == "CPUS")
    assert cpus["valueFrom"]["resourceFieldRef"] == {"containerName": "server", "resource": "limits.cpu"}
    assert any("$(CPUS)" in argument for argument in container["args"])


def test_pods_are_locked_down(manifests: tuple[dict[str, Any], ...]) -> None:
    for pod in pods(manifests):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 10000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] is True
            assert locked["allowPrivilegeEscalation"] is False
            assert locked["capabilities"] == {"drop": ["ALL"]}


def test_containers_have_requests_and_limits(manifests: tuple[dict[str, Any], ...]) -> None:
    for container in (c for m in manifests for c in containers_of(m)):
        resources = container["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}, container["name"]


def test_images_are_pinned(manifests: tuple[dict[str, Any], ...]) -> None:
    for container in (c for m in manifests for c in containers_of(m)):
        _, _, tag = container["image"].rpartition("/")[2].partition(":")
        assert tag not in ("", "latest"), container["image"]


def test_objects_are_in_one_namespace(manifests: tuple[dict[str, Any], ...]) -> None:
    namespaces = {m["metadata"].get("namespace") for m in manifests if m["kind"] != "Namespace"}
    assert namespaces == {"serving-comparison"}


def test_every_component_is_rendered_somewhere() -> None:
    used = {line.strip() for path in KUSTOMIZATIONS for line in path.read_text().splitlines() if "components/" in line}
    there = {path.parent.name for path in (ROOT / "k8s" / "components").glob("*/kustomization.yaml")}
    assert {line.rpartition("/")[2] for line in used} == there


@pytest.mark.parametrize("overlay", sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml")))
def test_overlay_gives_every_image_a_version(overlay: str) -> None:
    images = yaml.safe_load((OVERLAYS / overlay / "images" / "kustomization.yaml").read_text())["images"]
    ours = {i["name"].removeprefix(OF_OUR_OWN) for i in images if i["name"].startswith(OF_OUR_OWN)}
    assert ours == set(list_images())


def test_autoscalers_follow_no_growing_counter(manifests: tuple[dict[str, Any], ...]) -> None:
    for scaler in (m["spec"] for m in manifests if m["kind"] == "HorizontalPodAutoscaler"):
        assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 30
        for metric in scaler["metrics"]:
            assert metric["type"] == "Resource" or not metric["pods"]["metric"]["name"].endswith("_total")


def test_autoscaled_deployments_leave_their_replicas_alone(manifests: tuple[dict[str, Any], ...]) -> None:
    scaled = {m["spec"]["scaleTargetRef"]["name"] for m in manifests if m["kind"] == "HorizontalPodAutoscaler"}
    for name in scaled:
        assert "replicas" not in find(manifests, "Deployment", name)["spec"]


def test_modules_of_the_images_are_in_the_repository() -> None:
    copied = [
        word
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("artifacts/") and word not in ("deliver.py", "model_repository")
    ]
    assert copied
    assert not [word for word in copied if not (ROOT / word).exists()]


def test_only_the_load_generator_has_no_probes(manifests: tuple[dict[str, Any], ...]) -> None:
    """What lets checkov's two checks of probes be skipped."""
    for manifest in (m for m in manifests if m["kind"] == "Deployment"):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        probes = {"startupProbe", "readinessProbe", "livenessProbe"} <= containers_of(manifest)[-1].keys()
        assert probes or labels["app.kubernetes.io/component"] == "loadtest"


def test_every_pod_is_under_a_network_policy(folder: str, manifests: tuple[dict[str, Any], ...]) -> None:
    selectors = [m["spec"]["podSelector"] for m in manifests if m["kind"] == "NetworkPolicy"]
    for manifest in (m for m in manifests if m["kind"] in ("Deployment", "Job")):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert any(selects(selector, labels) for selector in selectors), f"{folder}: {manifest['metadata']['name']}"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of `In` expressions and labels takes a pod."""
    wanted = [labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(wanted)
