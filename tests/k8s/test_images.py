"""The Dockerfile has a target for every image, none of them root; the models' delivery refuses what is wrong."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import ROOT, Manifest, StageError, files_below
from k8s.build import DOCKERFILE, IMAGES, build_images, commit, find_builder, list_images, models_context, version
from k8s.cluster import choose, folder_of
from serving.server import list_servers

DELIVER = IMAGES / "models" / "deliver.py"
REQUIREMENTS = IMAGES / "requirements.py"


def stages() -> dict[str, tuple[str, str]]:
    """The Dockerfile's stages by name: what each stands on, and its lines."""
    pieces = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return {name: (base, lines) for base, name, lines in zip(*(pieces[start::3] for start in (1, 2, 3)), strict=True)}


def lines_of(name: str) -> str:
    """The lines of a stage and of those that it stands on, the first one's first."""
    base, lines = stages()[name]
    return (lines_of(base) if base in stages() else "") + lines


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run((hadolint, DOCKERFILE), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", list_images())
def test_image_has_a_target_without_root_or_pip(name: str) -> None:
    lines = lines_of(name)
    assert re.findall(r"^USER (.*)$", lines, re.MULTILINE) == ["10001:10001"]
    assert "\nENTRYPOINT " in lines
    assert "python3-pip" not in lines


def test_packages_come_in_the_pinned_versions_without_a_cache() -> None:
    lines = lines_of("packages")
    assert "\nENV PIP_CONSTRAINT=/build/constraints.txt\n" in lines
    assert lines.count(" install --no-cache-dir ") == lines.count("-m pip --python")


@pytest.mark.parametrize("name", list_servers())
def test_server_has_a_health_check(name: str) -> None:
    assert "\nHEALTHCHECK --interval" in lines_of(name)


@pytest.mark.parametrize(
    ("extra", "without"),
    [
        ("onnxruntime", {"torch", "tensorflow", "locust", "ai-edge-litert"}),
        ("tflite", {"torch", "tensorflow", "onnxruntime", "locust"}),
        ("tfserving", {"torch", "onnxruntime", "locust"}),
        ("torchserve", {"tensorflow", "onnxruntime", "locust"}),
        ("loadtest", {"torch", "tensorflow", "onnxruntime"}),
        ("tensorflow", {"torch", "onnxruntime", "locust"}),
        ("pytorch", {"tensorflow", "onnxruntime", "locust"}),
    ],
)
def test_image_installs_only_what_its_server_needs(extra: str, without: set[str]) -> None:
    done = subprocess.run((sys.executable, REQUIREMENTS, extra), cwd=ROOT, capture_output=True, text=True, check=True)
    packages = set(done.stdout.split())
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert packages > set(base)
    assert not packages & (without | {"pytest", "mypy", "ruff"})
    assert not [line for line in packages if line.startswith("serving-comparison")]


def repository(folder: Path) -> Path:
    artifact = folder / "source" / "net-onnx"
    (artifact / "1").mkdir(parents=True)
    (artifact / "1" / "model.onnx").write_bytes(b"model")
    Manifest("net-onnx", "pytorch", "onnx", "1", (), (), files_below(artifact), 5).write(artifact)
    return folder / "source"


def deliver(source: Path, target: Path, *formats: str) -> subprocess.CompletedProcess[str]:
    target.mkdir(exist_ok=True)
    return subprocess.run((sys.executable, DELIVER, source, target, *formats), capture_output=True, text=True)


def test_delivery_copies_what_the_manifest_lists(tmp_path: Path) -> None:
    done = deliver(repository(tmp_path), tmp_path / "target", "onnx")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "net-onnx" / "1" / "model.onnx").read_bytes() == b"model"
    assert Manifest.read(tmp_path / "target" / "net-onnx", "").name == "net-onnx"


def test_delivery_brings_the_samples_that_a_server_warms_up_with(tmp_path: Path) -> None:
    (repository(tmp_path) / "samples.npz").write_bytes(b"samples")
    deliver(tmp_path / "source", tmp_path / "target", "onnx")
    assert (tmp_path / "target" / "samples.npz").read_bytes() == b"samples"


def test_delivery_to_the_load_generator_refuses_a_repository_without_samples(tmp_path: Path) -> None:
    done = deliver(repository(tmp_path), tmp_path / "target")
    assert done.returncode == 1
    assert "has no samples.npz for the load generator" in done.stderr


def test_delivery_refuses_an_altered_file(tmp_path: Path) -> None:
    source = repository(tmp_path)
    (source / "net-onnx" / "1" / "model.onnx").write_bytes(b"other")
    done = deliver(source, tmp_path / "target", "onnx")
    assert done.returncode == 1
    actual, expected = (hashlib.sha256(content).hexdigest()[:12] for content in (b"other", b"model"))
    assert f"net-onnx/1/model.onnx: sha256 {actual}…, the manifest says {expected}…" in done.stderr
    assert not (tmp_path / "target" / "net-onnx" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "1" / "model.onnx").unlink(), "missing, though the manifest lists it"),
        (lambda folder: (folder / "1" / "more.bin").write_bytes(b""), "the manifest does not list it"),
    ],
)
def test_delivery_refuses_missing_and_unlisted_files(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    source = repository(tmp_path)
    spoil(source / "net-onnx")
    done = deliver(source, tmp_path / "target", "onnx")
    assert done.returncode == 1
    assert reason in done.stderr


def test_delivery_refuses_a_repository_without_the_format(tmp_path: Path) -> None:
    done = deliver(repository(tmp_path), tmp_path / "target", "tflite")
    assert done.returncode == 1
    assert "holds no artifact of tflite" in done.stderr


def test_no_cluster_is_ever_guessed() -> None:
    with pytest.raises(StageError, match="no cluster was named: set KUBECONFIG"):
        choose("local", environ={})


@pytest.mark.parametrize("environ", [{}, {"CLUSTER_TOOL": "/nowhere/cluster"}])
def test_no_test_cluster_is_ever_guessed(environ: dict[str, str]) -> None:
    with pytest.raises(StageError, match="set CLUSTER_TOOL to the test cluster's command, or choose another OVERLAY"):
        choose("ci", environ)


def test_unknown_overlay_is_refused_with_the_list() -> None:
    with pytest.raises(StageError, match="no overlay 'moon': choose OVERLAY from ci, cluster, local"):
        folder_of("moon")


def test_unknown_image_is_refused_with_the_list() -> None:
    with pytest.raises(StageError, match="no image moon: choose from loadtest, models"):
        build_images(["moon"], ("true",))


def test_builder_is_told_target_version_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8s.build.LOGS", tmp_path)
    arguments = tmp_path / "told"
    (tmp_path / "builder").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {arguments}\n')
    (tmp_path / "builder").chmod(0o755)
    build_images(["onnxruntime"], (str(tmp_path / "builder"), "build"))
    words = arguments.read_text().splitlines()
    assert words[0] == "build"
    labels = {"title": "serving-comparison onnxruntime", "version": version(), "revision": commit()}
    assert {f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()} <= set(words)
    assert {"--target=onnxruntime", "--build-arg=EXTRA=onnxruntime"} <= set(words)


def test_models_image_takes_the_repository_wherever_it_is(tmp_path: Path) -> None:
    context = models_context(repository(tmp_path), tmp_path / "context")
    assert sorted(path.name for path in context.iterdir()) == ["deliver.py", "model_repository"]
    assert (context / "model_repository" / "net-onnx" / "1" / "model.onnx").read_bytes() == b"model"


def test_builder_can_be_named() -> None:
    assert find_builder("buildah bud") == ("buildah", "bud")


def test_monitoring_config_is_the_servers_own() -> None:
    from serving.servers.tfserving.configuration import monitoring_config

    assert (ROOT / "k8s" / "base" / "monitoring.config").read_text() == monitoring_config()


def test_genuine_image_is_the_engines_own() -> None:
    from serving.servers.tfserving import IMAGE

    for path in (ROOT / "k8s" / "overlays").glob("*/images/kustomization.yaml"):
        assert json.dumps(IMAGE.split(":")[1]).strip('"') in path.read_text()
