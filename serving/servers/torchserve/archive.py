"""Packs an artifact into a TorchServe archive: reads the model repository, writes `<model store>/<artifact>.mar`."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

from contract import MODEL_REPOSITORY, Manifest, to_json, write_whole

HANDLER = Path(__file__).with_name("handler.py")


def pack(artifact: str, manifest: Manifest, store: Path, repository: Path = MODEL_REPOSITORY) -> Path:
    """Write `<store>/<artifact>.mar` unless one newer than the artifact and the handler is there."""
    archive = store / f"{artifact}.mar"
    folder = repository / artifact
    manifest.check_files(folder, "make export")
    model = folder / next(name for name in manifest.sha256 if name.endswith(".pt"))
    sources = (model, HANDLER, folder / "manifest.json")
    if archive.is_file() and all(archive.stat().st_mtime > source.stat().st_mtime for source in sources):
        return archive
    with tempfile.TemporaryDirectory(dir=_made(store)) as scratch:
        signature = Path(scratch) / "manifest.json"
        write_whole(signature, to_json(asdict(manifest)).encode())
        _archive(archive.stem, model, signature, scratch)
        (Path(scratch) / archive.name).replace(archive)
    return archive


def _archive(artifact: str, model: Path, signature: Path, folder: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the archiver leaves its own version file open
        from model_archiver.model_archiver_config import ModelArchiverConfig
        from model_archiver.model_packaging import generate_model_archive

        config = ModelArchiverConfig(
            model_name=artifact,
            version="1.0",
            handler=str(HANDLER),
            serialized_file=str(model),
            extra_files=str(signature),
            export_path=folder,
            force=True,
        )
        generate_model_archive(config)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
