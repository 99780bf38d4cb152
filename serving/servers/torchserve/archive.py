"""Packs an artifact into a TorchServe archive: reads the model repository, writes `<model store>/<artifact>.mar`."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from contract import MODEL_REPOSITORY, Manifest, to_json, write_whole
from export.samples import FILE
from serving.repository import read_samples

HANDLER = Path(__file__).with_name("handler.py")
WARMUP = "warmup.npz"
"""In the archive: the inputs of one sample, by the handler's name for it."""


def pack(artifact: str, manifest: Manifest, store: Path, repository: Path = MODEL_REPOSITORY) -> Path:
    """Write `<store>/<artifact>.mar` unless one of the same content is there."""
    archive = store / f"{artifact}.mar"
    folder = repository / artifact
    manifest.check_files(folder, "make export")
    signature = to_json(asdict(manifest)).encode()
    if _has_content(archive, signature):
        return archive
    model = folder / next(name for name in manifest.sha256 if name.endswith(".pt"))
    with tempfile.TemporaryDirectory(dir=_made(store)) as scratch:
        extra = [Path(scratch) / "manifest.json"]
        write_whole(extra[0], signature)
        if manifest.batching.may_join and (repository / FILE).is_file():
            extra.append(Path(scratch) / WARMUP)
            sample: dict[str, Any] = dict(read_samples(repository).take([0]))
            np.savez(extra[1], **sample)
        _archive(archive.stem, model, extra, scratch)
        (Path(scratch) / archive.name).replace(archive)
    return archive


def _has_content(archive: Path, signature: bytes) -> bool:
    """Whether the archive was made of this manifest, which has the model's sha256, and of this handler."""
    try:
        with zipfile.ZipFile(archive) as file:
            return file.read("manifest.json") == signature and file.read(HANDLER.name) == HANDLER.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _archive(artifact: str, model: Path, extra: list[Path], folder: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the archiver leaves its own version file open
        from model_archiver.model_archiver_config import ModelArchiverConfig
        from model_archiver.model_packaging import generate_model_archive

        config = ModelArchiverConfig(
            model_name=artifact,
            version="1.0",
            handler=str(HANDLER),
            serialized_file=str(model),
            extra_files=",".join(map(str, extra)),
            export_path=folder,
            force=True,
        )
        generate_model_archive(config)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
