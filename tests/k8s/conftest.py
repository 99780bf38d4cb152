"""The overlays as kustomize renders them, once a session; and the cluster of the end-to-end test with a load on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contract import ARTIFACTS, MODEL_REPOSITORY, ROOT, StageError, to_json, write_whole
from k8s.build import DOCKERFILE, build_images, models_context, reference
from k8s.cluster import NAMESPACE, OVERLAYS, Cluster, choose, render
from k8s.deploy import deploy, explain
from loadtest.plan import EndpointPlan, Run, write_plan
from loadtest.scenarios import Scenario
from serving.server import Endpoint, find_server, list_servers

FOLDERS = sorted(
    str(path.parent.relative_to(ROOT))
    for folder in (OVERLAYS, Path(__file__).parent / "variants")
    for path in folder.rglob("kustomization.yaml")
    if "kind: Kustomization" in path.read_text()
)
FIGURES = ARTIFACTS / "k8s" / "end_to_end.json"

PIECES = 80

Load = Callable[..., AbstractContextManager[dict[str, Any]]]
"""From a scenario and the names of endpoints to a block under that load; it yields the results of each."""


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    return tuple(render(ROOT / folder))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `folder` runs for every overlay; one that asks for `manifests` gets its objects."""
    if "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", FOLDERS, scope="session")


@pytest.fixture
def manifests(folder: str) -> tuple[dict[str, Any], ...]:
    return rendered(folder)


@pytest.fixture(scope="session")
def base() -> list[dict[str, Any]]:
    return render(ROOT / "k8s" / "base")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where a test on the cluster fails, its report has what every pod's events and logs said last."""
    outcome = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if outcome.failed and isinstance(cluster, Cluster):
        lines = [explain(cluster, name) for name in (*list_servers(), "loadtest", "loadtest-worker")]
        outcome.sections.append(("pods: events and last log lines", "\n".join(lines)))
    return outcome


@pytest.fixture(scope="session")
def overlay() -> str:
    """`ci` on the test cluster that CLUSTER_TOOL names, or what OVERLAY says on the cluster of KUBECONFIG."""
    return "ci" if os.environ.get("CLUSTER_TOOL") else os.environ.get("OVERLAY", "local")


@pytest.fixture(scope="session")
def cluster(overlay: str) -> Iterator[Cluster]:
    """The cluster; a test cluster that is not up is started, and ended at the end."""
    try:
        chosen = choose(overlay)
    except StageError as error:
        pytest.exit(str(error), returncode=2)  # these tests run only where they are asked for: none is no success
    started = chosen.tool is not None and subprocess.run((chosen.tool, "status"), capture_output=True).returncode != 0
    began_s = time.monotonic()
    try:
        if started:
            subprocess.run((str(chosen.tool), "up"), check=True)
            keep(cluster_up_s=time.monotonic() - began_s)
        yield chosen
    finally:
        if started:
            subprocess.run((str(chosen.tool), "down"), check=True)


@pytest.fixture(scope="session")
def tool(cluster: Cluster) -> str:
    """The test cluster's command, for what needs its node: building images, killing processes, a load from outside."""
    if cluster.tool is None:
        pytest.skip("only on the one-node test cluster, whose node is this machine")
    return cluster.tool


def keep(**figures: Any) -> None:
    """Keep figures for a person to read."""
    known = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    for name, value in figures.items():
        known[name] = {**known[name], **value} if isinstance(known.get(name), dict) else value
    write_whole(FIGURES, to_json(known).encode())


@pytest.fixture(scope="session")
def report() -> Callable[..., None]:
    """Adds figures to `artifacts/k8s/end_to_end.json`."""
    return keep


@pytest.fixture(scope="session")
def builder() -> str:
    """The test cluster's command, which builds images whether or not the cluster is up."""
    try:
        tool = choose("ci").tool
    except StageError as error:
        pytest.skip(str(error))
    assert tool
    return tool


@pytest.fixture(scope="session")
def images(builder: str) -> dict[str, float]:
    """Every image built, and the seconds that took; few where nothing has changed."""
    built = dict(build_images([], (builder, "build")))
    keep(image_build_s=built)
    return built


@pytest.fixture(scope="session")
def deployed(cluster: Cluster, overlay: str, request: pytest.FixtureRequest) -> dict[str, float]:
    """The overlay deployed: seconds to Ready by server."""
    if cluster.tool:
        request.getfixturevalue("images")
    return deploy(cluster, overlay, timeout_s=420)


@pytest.fixture(scope="session")
def second_models(tool: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the second version of every model."""
    return model_image(tmp_path_factory.mktemp("second"), tool, "second", second_version)


@pytest.fixture(scope="session")
def broken_models(tool: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose files are not those that the manifests list."""
    return model_image(tmp_path_factory.mktemp("broken"), tool, "broken", wrong_sha256)


def model_image(folder: Path, tool: str, tag: str, change: Callable[[Path, dict[str, Any]], None]) -> str:
    """Build and load a models image whose artifacts `change` has changed."""
    models_context(MODEL_REPOSITORY, folder)
    for path in folder.glob("model_repository/*/manifest.json"):
        manifest = json.loads(path.read_text())
        change(path.parent, manifest)
        path.write_text(to_json(manifest))
    image = reference("models").rpartition(":")[0] + f":{tag}"
    words = ("-q", "--target=models", "-t", image, "-f", str(DOCKERFILE), str(folder))
    subprocess.run((tool, "build", *words), check=True)
    subprocess.run((tool, "load", image), check=True)
    return image


def second_version(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "1").rename(folder / "2")
    manifest["version"] = "2"
    manifest["sha256"] = {f"2/{name.partition('/')[2]}": value for name, value in manifest["sha256"].items()}


def wrong_sha256(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["sha256"] = dict.fromkeys(manifest["sha256"], "0" * 64)


@pytest.fixture
def load(tool: str, tmp_path: Path) -> Load:
    """Puts load on endpoints for as long as a block lasts: `with load(Open(25, 5), "server/artifact/rest") as results`.

    The load runs in pieces of the scenario's seconds, one after the other; the block begins when one is done, and the
    one that is on at the block's end is waited for. Then the results of all pieces are there, by the endpoint's name.
    """

    @contextmanager
    def under_load(scenario: Scenario, *names: str) -> Iterator[dict[str, Any]]:
        results: dict[str, Any] = {}
        paths = {name: tmp_path / name.replace("/", "__") for name in names}
        running = [start_load(tool, scenario, name, path) for name, path in paths.items()]
        try:
            wait_for_pieces(running, dict.fromkeys(paths.values(), 1))
            yield results
            wait_for_pieces(running, {path: len(pieces(path)) + 1 for path in paths.values()})
            results |= {name: [json.loads(p.read_bytes()) for p in pieces(path)] for name, path in paths.items()}
        finally:
            for process in running:
                process.kill()
                process.wait()

    return under_load


def start_load(tool: str, scenario: Scenario, name: str, path: Path) -> subprocess.Popen[bytes]:
    """Start a load generator in the cluster's network; each piece's result goes to `<path>-<number>.json`."""
    server, artifact, protocol = name.split("/")
    port = find_server(server).ports[find_server(server).protocols[protocol]]
    endpoint = Endpoint(server, artifact, protocol, port, f"{server}.{NAMESPACE}")
    plan = path.with_suffix(".plan")
    runs = tuple(Run(scenario, number, number, f"{path}-{number}") for number in range(1, PIECES + 1))
    write_plan(plan, MODEL_REPOSITORY, [EndpointPlan(endpoint, runs)])
    return subprocess.Popen((tool, "exec", sys.executable, "-m", "loadtest.locustfile", str(plan)), cwd=ROOT)


def pieces(path: Path) -> list[Path]:
    """The results of the pieces that are done."""
    return list(path.parent.glob(f"{path.name}-*.json"))


def wait_for_pieces(running: list[subprocess.Popen[bytes]], counts: dict[Path, int]) -> None:
    """Wait until so many pieces of each load are done."""
    deadline_s = time.monotonic() + 90
    while waiting := [path.name for path, count in counts.items() if len(pieces(path)) < count]:
        assert not [process.args for process in running if process.poll() is not None], "a load generator ended"
        assert time.monotonic() < deadline_s, f"no further results of {waiting}"
        time.sleep(0.2)
