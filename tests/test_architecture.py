"""The rules of the house that import-linter can't hold: sizes, names, lazy listing, pinned versions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from contract import ROOT

STAGES = ("training", "export", "serving", "loadtest", "k8s")
TRACKED = subprocess.run(
    ("git", "ls-files", "-co", "--exclude-standard", "*.py"), cwd=ROOT, capture_output=True, text=True
)
FILES = sorted(path for name in TRACKED.stdout.split() if (path := ROOT / name).is_file())
MODULES = [path for path in FILES if path.relative_to(ROOT).parts[0] in (*STAGES, "contract.py")]
DRAWERS = r"utils?|helpers?|common|misc|managers?|wrappers?|backends?"
IMAGES = r"crowds?|wires?|visits?|turns|suffers?"
BANNED = re.compile(rf"(^|_)({DRAWERS}|{IMAGES})($|_)")
HEAVY = ("tensorflow", "torch", "onnxruntime", "ai_edge_litert", "locust", "gevent", "grpc")


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
    assert len(MODULES) > 100


def test_contract_imports_no_stage() -> None:
    assert not imported_roots(ROOT / "contract.py") & set(STAGES)


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
def test_no_banned_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    parts = path.relative_to(ROOT).with_suffix("").parts
    snake = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in (*parts, *names)]
    assert not [name for name in snake if BANNED.search(name)]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_module_hides_one_of_the_standard_library(path: Path) -> None:
    names = set(path.relative_to(ROOT).with_suffix("").parts)
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize("listing", ["export.format.list_formats", "serving.server.list_servers"])
def test_listing_imports_nothing_heavy(listing: str) -> None:
    module, function = listing.rsplit(".", 1)
    find = function.replace("list", "find")[:-1]
    listed = f"import sys, {module} as m; [m.{find}(n) for n in m.{function}()]"
    code = f"{listed}; print([n for n in {HEAVY} if n in sys.modules])"
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_only_the_generator_imports_locust_and_gevent() -> None:
    importers = {named(path) for path in MODULES if imported_roots(path) & {"locust", "gevent"}}
    allowed = "loadtest/generator/", "loadtest/locustfile.py"
    assert not {name for name in importers if not name.startswith(allowed)}


def pinned() -> dict[str, str]:
    """The versions in constraints.txt by the package's normalised name; anything else there is an error."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+", line) for line in lines)
    return {normalised(name): version for name, _, version in (line.partition("==") for line in lines)}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {match[0] for line in lines if "==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line))}
    assert {normalised(name) for name in names} - pinned().keys() == {project["name"]}
