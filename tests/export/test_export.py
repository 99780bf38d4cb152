"""The command: what it makes, what it leaves alone, and that a failing artifact leaves no manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contract import MODELS, Manifest
from export.__main__ import main, not_exported
from export.convert import is_fresh
from export.samples import read_arrays, write_samples

ARTIFACT = "pytorch-onnx"


@pytest.fixture
def copied(repository, tmp_path) -> Path:
    """A repository with one good artifact, to be harmed."""
    shutil.copytree(repository / ARTIFACT, tmp_path / ARTIFACT)
    return tmp_path


@pytest.fixture
def copied_models(tmp_path) -> Path:
    """A trained model, to be changed."""
    return Path(shutil.copytree(MODELS / "pytorch", tmp_path / "models" / "pytorch")).parent


@pytest.mark.parametrize("artifact", ["tensorflow-savedmodel", "tensorflow-onnx", "tensorflow-tflite", ARTIFACT])
def test_every_artifact_passed_the_gate_on_all_test_images(artifact, repository):
    manifest = Manifest.read(repository / artifact, "make export")
    manifest.check_files(repository / artifact, "make export")
    assert manifest.parity["samples"] == 10_000
    assert manifest.batching.verdict == "proven"
    assert manifest.parity["max_abs_diff"] <= 1e-5
    assert manifest.parity["label_agreement"] == 1
    assert manifest.parity["batch_sizes"] == [1, 2, 7, 64]
    assert manifest.test_accuracy >= 0.98


def test_an_intact_artifact_is_fresh_and_the_table_says_so(copied, capsys):
    assert main(["list", "--repository", str(copied)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows[ARTIFACT].endswith("fresh")
    assert rows["tensorflow-onnx"].endswith("to be made")
    if not_exported("pytorch-tflite"):
        assert "needs the extra litert" in rows["pytorch-tflite"]
        assert ".venv-litert/bin/python -m export pytorch-tflite" in rows["pytorch-tflite"]


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest"])
def test_a_half_written_artifact_is_not_fresh(copied, harm):
    file = copied / ARTIFACT / "1" / "model.onnx"
    {
        "truncate": lambda: file.write_bytes(file.read_bytes()[:-1]),
        "remove": file.unlink,
        "manifest": (copied / ARTIFACT / "manifest.json").unlink,
    }[harm]()
    assert not is_fresh(ARTIFACT, MODELS, copied)


def test_an_artifact_of_another_training_is_not_fresh(copied, copied_models):
    assert is_fresh(ARTIFACT, copied_models, copied)
    manifest = copied_models / "pytorch" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1', '"seed": 2'))
    assert not is_fresh(ARTIFACT, copied_models, copied)


def test_an_artifact_that_answers_otherwise_leaves_no_manifest(copied_models, tmp_path, capsys):
    answers = np.load(copied_models / "pytorch" / "test_probabilities.npy")
    np.save(copied_models / "pytorch" / "test_probabilities.npy", np.roll(answers, 1, axis=0))
    refresh(copied_models / "pytorch")
    arguments = ["pytorch-torchscript", "--models", str(copied_models), "--repository", str(tmp_path / "repository")]
    assert main(arguments) == 1
    row = capsys.readouterr().out.splitlines()[1]
    assert "failed the parity gate: output 'probabilities' of sample" in row
    assert "of 10,000 samples, wanted on all" in row
    assert not list((tmp_path / "repository").glob("*/manifest.json"))
    assert not list((tmp_path / "repository").glob(".*"))


def refresh(folder: Path) -> None:
    from dataclasses import replace

    from contract import files_below

    replace(Manifest.read(folder, ""), sha256=files_below(folder)).write(folder)


def test_export_of_an_untrained_framework_names_the_command(tmp_path, capsys):
    assert main([ARTIFACT, "--models", str(tmp_path), "--repository", str(tmp_path)]) == 2
    assert "run `make train-pytorch`" in capsys.readouterr().err


def test_export_of_an_unknown_artifact_names_the_known_ones(capsys):
    assert main(["pytorch-savedmodel"]) == 2
    assert "no artifact pytorch-savedmodel: choose from tensorflow-onnx" in capsys.readouterr().err


def test_samples_are_the_same_bytes_each_time(copied):
    first = write_samples(MODELS, copied).read_bytes()
    (copied / "samples.npz").unlink()
    assert write_samples(MODELS, copied).read_bytes() == first
    arrays = read_arrays(copied)
    assert set(arrays) == {"inputs/image", f"expected/{ARTIFACT}/probabilities", "labels"}
    assert arrays["inputs/image"].shape == (512, 28, 28, 1)
