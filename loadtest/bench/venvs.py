"""The virtual environments of the servers that are not ours, below `artifacts/bench/`, made on first use.

Each has the requirements pinned here; one that was made of others is made again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from contract import ARTIFACTS, StageError, write_whole
from serving.process.launcher import start
from serving.server import Launch

HERE = Path(__file__).parent / "systems_under_test"
VENVS = ARTIFACTS.resolve() / "bench"
REQUIREMENTS = {
    "litserve": ("litserve==0.2.19", "onnxruntime==1.32.0"),
    "mlserver": ("mlserver==1.7.1", "onnxruntime==1.32.0"),
    "bentoml": ("bentoml==1.4.39", "onnxruntime==1.32.0"),
    "pytriton": ("nvidia-pytriton==0.7.0", "onnxruntime==1.32.0"),
}
START = {"pytriton": HERE / "pytriton_start.py"}
"""What an environment runs whenever its Python starts."""


def prepare(name: str) -> None:
    """Make the virtual environment `name` unless it is there; raises StageError where that fails."""
    folder, recipe = VENVS / name, "\n".join(REQUIREMENTS[name])
    recipe += START[name].read_text() if name in START else ""
    made = folder / "made"
    if made.is_file() and made.read_text() == recipe:
        return
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {' '.join(REQUIREMENTS[name])} into {folder}", file=sys.stderr)
    steps = (
        (sys.executable, "-m", "venv", str(folder)),
        (str(folder / "bin/pip"), "install", "--quiet", *REQUIREMENTS[name]),
    )
    for step in steps:
        running = start(Launch(step), log=VENVS / f"{name}.log")
        try:
            if running.process.wait():
                raise StageError(f"{name} could not be installed:\n{running.last_lines()}")
        finally:
            running.stop()
    if name in START:
        packages = next(folder.glob("lib/python3.*/site-packages"))
        shutil.copy(START[name], packages / "sitecustomize.py")
    write_whole(made, recipe.encode())
