"""Which signatures may join requests in one run, by the manifest that the export wrote beside the versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contract import Manifest, StageError
from serving.servers.tfserving.model.signatures import DEFAULT

REMEDY = "make export"


def proven_signatures(folder: Path, log: Callable[[str], None]) -> frozenset[str] | None:
    """The signatures of a version whose rows are independent; None where no manifest lies beside the version.

    The export proves it for the default signature and the files that the manifest lists, and for nothing else.
    """
    base, prefix = folder.parent, f"{folder.name}/"
    if not (base / "manifest.json").is_file():
        return None
    try:
        manifest = Manifest.read(base, REMEDY)
        listed = {name: digest for name, digest in manifest.sha256.items() if name.startswith(prefix)}
        replace(manifest, sha256=listed).check_files(base, REMEDY)
    except (StageError, OSError) as error:
        log(f"{folder}: requests run one by one: {error}")
        return frozenset()
    return frozenset({DEFAULT} if listed and manifest.batching.may_join else ())
