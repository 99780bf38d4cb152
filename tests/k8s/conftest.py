"""The overlays, and variants with the components that no overlay has, as kustomize renders them: once a session."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contract import ROOT
from k8s.cluster import OVERLAYS, render

FOLDERS = sorted(
    str(path.parent.relative_to(ROOT))
    for folder in (OVERLAYS, Path(__file__).parent / "variants")
    for path in folder.rglob("kustomization.yaml")
    if "kind: Kustomization" in path.read_text()
)


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    return tuple(render(ROOT / folder))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `folder` runs for every overlay; one that asks for `manifests` gets its objects."""
    if "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", FOLDERS, scope="session")


@pytest.fixture
def manifests(folder: str) -> tuple[dict[str, Any], ...]:
    return rendered(folder)


@pytest.fixture(scope="session")
def base() -> list[dict[str, Any]]:
    return render(ROOT / "k8s" / "base")
