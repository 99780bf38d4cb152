"""Print what an extra of pyproject.toml needs, one requirement a line: `python requirements.py onnxruntime`.

A Dockerfile installs these before it copies any code, so that a change of code leaves the layer of packages alone.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements_of(project: dict[str, list[str]] | dict[str, object], extra: str) -> list[str]:
    """The base dependencies and those of `extra`, extras of the project itself followed."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    lines: list[str] = list(project["dependencies"])  # type: ignore[call-overload]
    waiting = [extra]
    while waiting:
        for line in extras[waiting.pop()]:
            if line.startswith(f"{project['name']}["):
                waiting += line.partition("[")[2].rstrip("]").split(",")
            else:
                lines.append(line)
    return sorted(set(lines))


if __name__ == "__main__":
    print(*requirements_of(tomllib.loads(Path("pyproject.toml").read_text())["project"], sys.argv[1]), sep="\n")
