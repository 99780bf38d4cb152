"""Dockerfiles: hadolint finds nothing, each is non-root and labelled; the models' delivery refuses what is wrong."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import ROOT, Manifest, StageError, files_below
from k8s.build import IMAGES, build_images, commit, find_builder, list_images, version
from k8s.cluster import choose, folder_of

DELIVER = IMAGES / "models" / "deliver.py"
REQUIREMENTS = IMAGES / "requirements.py"


@pytest.mark.parametrize("name", list_images())
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run((hadolint, IMAGES / name / "Dockerfile"), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", list_images())
def test_dockerfile_is_non_root_labelled_and_checked(name: str) -> None:
    text = (IMAGES / name / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in text
    assert "\nHEALTHCHECK " in text
    assert 'image.revision="${COMMIT}"' in text
    assert 'image.version="${VERSION}"' in text
    assert name == "models" or ("--no-cache-dir" in text and "\nENV PIP_CONSTRAINT=/build/constraints.txt\n" in text)


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
    found = set(done.stdout.split())
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert found > set(base)
    assert not found & without
    assert not [line for line in found if line.startswith("serving-comparison")]


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


def test_delivery_refuses_an_altered_file(tmp_path: Path) -> None:
    source = repository(tmp_path)
    (source / "net-onnx" / "1" / "model.onnx").write_bytes(b"other")
    done = deliver(source, tmp_path / "target", "onnx")
    assert done.returncode == 1
    found, expected = (hashlib.sha256(content).hexdigest()[:12] for content in (b"other", b"model"))
    assert f"net-onnx/1/model.onnx: sha256 {found}…, the manifest says {expected}…" in done.stderr
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


def test_unknown_overlay_is_refused_with_the_list() -> None:
    with pytest.raises(StageError, match="no overlay 'moon': choose OVERLAY from ci, cluster, local"):
        folder_of("moon")


def test_unknown_image_is_refused_with_the_list() -> None:
    with pytest.raises(StageError, match="no image moon: choose from loadtest, models"):
        build_images(["moon"], ("true",))


def test_builder_is_told_version_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8s.build.LOGS", tmp_path)
    told = tmp_path / "told"
    (tmp_path / "builder").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    (tmp_path / "builder").chmod(0o755)
    build_images(["onnxruntime"], (str(tmp_path / "builder"), "build"))
    words = told.read_text().splitlines()
    assert words[0] == "build"
    for name, value in (("version", version()), ("revision", commit())):
        assert f"--label=org.opencontainers.image.{name}={value}" in words
    assert f"--build-arg=COMMIT={commit()}" in words


def test_builder_can_be_named() -> None:
    assert find_builder("buildah bud") == ("buildah", "bud")


def test_monitoring_config_is_the_servers_own() -> None:
    from serving.servers.tfserving.configuration import monitoring_config

    assert (ROOT / "k8s" / "base" / "monitoring.config").read_text() == monitoring_config()


def test_genuine_image_is_the_engines_own() -> None:
    from serving.servers.tfserving import IMAGE

    for path in (ROOT / "k8s" / "overlays").glob("*/images/kustomization.yaml"):
        assert json.dumps(IMAGE.split(":")[1]).strip('"') in path.read_text()
