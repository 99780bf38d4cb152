"""One look at a repository: what is whole is found, and nothing that a file system can do makes the look fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from contract import Manifest, TensorSpec
from serving.hosting.repository_scan import scan

SPEC = (TensorSpec("x", "FP32", (-1,)),)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`good`, with version 1 and something that is no version."""
    write(tmp_path, "good")
    (tmp_path / "good/notes").mkdir()
    return tmp_path


def write(repository: Path, name: str, version: str = "1") -> None:
    folder = repository / name / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x")
    Manifest(name, "pytorch", "onnx", version, SPEC, SPEC, {}, 1).write(repository / name)


def test_artifacts_and_versions_are_found(repository: Path) -> None:
    write(repository, "other")
    look = scan(repository, ("onnx",))
    assert {name: list(artifact.versions) for name, artifact in look.artifacts.items()} == {"good": [1], "other": [1]}
    assert list(scan(repository, ("onnx",), ["other"]).artifacts) == ["other"]
    assert scan(repository, ("tflite",)).artifacts == {}


@pytest.mark.parametrize("change", ["content", "mode", "file", "nothing"])
def test_other_files_are_another_source(repository: Path, change: str) -> None:
    before = scan(repository, ("onnx",)).artifacts["good"].versions[1]
    file = repository / "good/1/model.onnx"
    if change == "content":
        file.write_bytes(b"longer")
    elif change == "mode":
        file.chmod(0o600)
    elif change == "file":
        file.with_name("weights").touch()
    assert (scan(repository, ("onnx",)).artifacts["good"].versions[1] == before) is (change == "nothing")


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "is not a manifest"), ("[]", "is not a manifest"), ("[" * 100_000, "recursion")]
)
def test_manifest_that_is_none_is_a_problem_of_its_artifact(repository: Path, text: str, problem: str) -> None:
    (repository / "bad").mkdir()
    (repository / "bad/manifest.json").write_text(text)
    look = scan(repository, ("onnx",))
    assert list(look.artifacts) == ["good"]
    assert problem in look.problems["bad"]


def test_manifest_that_is_a_folder_is_a_problem_of_its_artifact(repository: Path) -> None:
    (repository / "odd/manifest.json").mkdir(parents=True)
    assert scan(repository, ("onnx",)).problems == {"odd": f"can't read {repository}/odd/manifest.json: Is a directory"}


@pytest.mark.parametrize("place", ["odd/manifest.json", "good/2", "good/1/pipe", "odd"])
def test_pipe_does_not_hold_the_look(repository: Path, place: str) -> None:
    """Whoever opens a pipe waits for its writer, and the polling would end for ever."""
    (repository / place).parent.mkdir(exist_ok=True)
    os.mkfifo(repository / place)
    look = scan(repository, ("onnx",))
    assert list(look.artifacts["good"].versions) == [1]
    assert place != "odd/manifest.json" or "odd/manifest.json is a pipe or a device" in look.problems["odd"]


def test_repository_that_is_gone_is_a_problem_of_its_own(repository: Path) -> None:
    assert list(scan(repository / "nowhere", ("onnx",)).problems) == [""]


@pytest.mark.parametrize("method", ["iterdir", "read_text", "rglob"])
def test_folder_that_may_not_be_read_is_a_problem(
    repository: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    write(repository, "locked")
    real = getattr(Path, method)

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, method, refuse)
    look = scan(repository, ("onnx",))
    assert list(look.artifacts) == ["good"]
    assert look.problems["locked"].endswith("Permission denied")


def test_file_that_vanishes_during_the_look_is_not_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "good/1/gone").touch()
    real = Path.stat

    def vanish(path: Path, **options: Any) -> Any:
        if path.name == "gone":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", vanish)
    ((path, *_),) = scan(repository, ("onnx",)).artifacts["good"].versions[1].fingerprint  # type: ignore[misc]
    assert path == "model.onnx"
