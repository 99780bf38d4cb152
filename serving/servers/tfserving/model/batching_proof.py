"""Which signatures may join requests in one run, by the manifest that the export wrote beside the versions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from contract import Manifest, StageError
from serving.servers.tfserving.model.signatures import DEFAULT

REMEDY = "make export"


def proven_signatures(folder: Path, log: Callable[[str], None]) -> Mapping[str, int] | None:
    """The signatures of a version whose rows are independent, each with the most rows that a shared run may have.

    The export proves it for the default signature and the files that the manifest lists, and for nothing else.
    None where no manifest lies beside the version.
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
        return {}
    return {DEFAULT: manifest.batching.rows_of(sys.maxsize)} if listed and manifest.batching.may_join else {}
