"""How worker processes of one server tell each other what was loaded and unloaded by name.

Reads and writes one small file per model in a folder that the supervisor made: the last change and its number.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from contract import write_whole


class Control:
    """One worker's view of the folder; without a folder there is nobody to tell."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: dict[str, int] = {}
        self._problem = ""

    def announce(self, model: str, change: str) -> None:
        """Tell the others that `model` was changed here: `load` or `unload`."""
        if self._folder is not None:
            number = time.time_ns()
            self._seen[model] = number
            write_whole(self._folder / model, json.dumps({"change": change, "number": number}).encode())

    def news(self) -> list[tuple[str, str]]:
        """Models, and what other workers did to them since the last call."""
        if self._folder is None:
            return []
        changes: list[tuple[str, str]] = []
        try:
            for path in self._folder.iterdir():
                if path.name.startswith("."):  # it is being written
                    continue
                record = json.loads(path.read_bytes())
                if self._seen.get(path.name) != record["number"]:
                    self._seen[path.name] = record["number"]
                    changes.append((path.name, record["change"]))
        except OSError as error:
            if self._problem != str(error):
                print(f"can't read what other workers did: {error}", file=sys.stderr, flush=True)
            self._problem = str(error)
        return changes
