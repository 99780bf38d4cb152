"""A repository of fake trained models, small formats that can be converted in no time, and little ONNX files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import MODEL_REPOSITORY, ROOT, Manifest


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run a module or a script and return what it printed; a failure shows its stderr."""

    def run(*arguments: str | Path, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository that `make export` wrote."""
    Manifest.read(MODEL_REPOSITORY / "pytorch-onnx", "make export")
    return MODEL_REPOSITORY
