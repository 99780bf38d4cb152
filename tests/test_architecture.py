"""The rules of the house that a machine can hold: imports, sizes, names, lazy listing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract import ROOT

STAGES = ("contract", "training", "export", "serving", "loadtest", "k8s")
"""In the order of the data: a stage may import those before it."""
TRACKED = subprocess.run(
    ("git", "ls-files", "-co", "--exclude-standard", "*.py"), cwd=ROOT, capture_output=True, text=True
)
FILES = sorted(path for name in TRACKED.stdout.split() if (path := ROOT / name).is_file())
MODULES = [path for path in FILES if path.relative_to(ROOT).parts[0] in (*STAGES, "contract.py")]
BANNED = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|wrappers?|backends?)($|_)")
HEAVY = ("tensorflow", "torch", "onnxruntime", "ai_edge_litert", "locust", "gevent", "grpc")


def stage_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.split(".")[0])
    return roots


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_found() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    allowed = STAGES[: STAGES.index(stage_of(path)) + 1]
    later = {root for root in imported_roots(path) if root in STAGES and root not in allowed}
    assert not later, f"{named(path)} imports a later stage: {later}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_functions_stay_short(path: Path) -> None:
    functions = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f"{f.name}: {length}" for f in functions if (length := (f.end_lineno or 0) - f.lineno + 1) > 50]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_say_what_they_are(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), (
        "a module docstring says what it reads, writes, how to run it"
    )


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_drawer_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [
        name for name in (path.stem, *names) if BANNED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    ]


@pytest.mark.parametrize("listing", ["export.format.list_formats", "serving.server.list_servers"])
def test_listing_imports_nothing_heavy(listing: str) -> None:
    module, function = listing.rsplit(".", 1)
    find = function.replace("list", "find")[:-1]
    listed = f"import sys, {module} as m; [m.{find}(n) for n in m.{function}()]"
    code = f"{listed}; print([n for n in {HEAVY} if n in sys.modules])"
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_only_the_locustfile_imports_locust() -> None:
    importers = {path for path in MODULES if imported_roots(path) & {"locust", "gevent"}}
    assert {stage_of(path) for path in importers} <= {"loadtest"}


def test_constraints_pin_every_dependency() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert {"tensorflow", "torch", "torchserve", "onnxruntime", "locust", "numpy", "pytest", "setuptools"} <= pinned
