"""Holds the documents to the code: every path, link, `make` target, module and subcommand that they name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from contract import ROOT
from loadtest.__main__ import SUBCOMMANDS

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "k8s" / "README.md", *(ROOT / "docs").glob("*.md")]
FOLDERS = r"training|export|serving|loadtest|k8s|tests|docs|examples|\.ci|\.github"
PATH = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w/?|contract\.py)(?:::(\w+))?(?![\w/<*…-]|\.[*{{])")
TARGETS = {
    target
    for line in (ROOT / "Makefile").read_text().splitlines()
    if (match := re.match(r"([a-zA-Z][\w% -]*):(?!=)", line))
    for target in match[1].split()
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(path: Path) -> list[str]:
    """The code in a document: what stands in backticks, and the lines of fenced and indented blocks."""
    text = path.read_text()
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```\w*\n.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", prose, re.MULTILINE)
    return [*re.findall(r"`([^`]+)`", prose), *(line for block in fenced for line in block.splitlines()), *indented]


def anchors_of(path: Path) -> set[str]:
    """The anchors that a forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        target, _, anchor = link.partition("#")
        if link.startswith("http"):
            continue
        path = document.parent / target if target else document
        assert path.exists(), link
        assert not anchor or anchor in anchors_of(path), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_named_files_and_functions_are_there(document: Path) -> None:
    for path, name in (match.groups() for code in code_of(document) for match in PATH.finditer(code)):
        assert (ROOT / path).exists(), path
        assert not name or name in names_in(ROOT / path), f"{path}::{name}"


def names_in(path: Path) -> set[str]:
    """The classes and functions at the top of a module."""
    defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, defined)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_targets_are_there(document: Path) -> None:
    patterns = [re.compile(re.escape(target).replace("%", r"[\w-]+")) for target in TARGETS]
    for code in code_of(document):
        for words in re.findall(r"\bmake((?: +[a-z][\w-]*(?![\w=./<-]))+)", code):
            for word in words.split():
                assert any(pattern.fullmatch(word) for pattern in patterns), f"make {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_modules_and_subcommands_are_there(document: Path) -> None:
    for code in code_of(document):
        for module in re.findall(r"python -m ([\w.]+)", code):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
        for subcommand in re.findall(r"python -m loadtest ([a-z][\w-]*)", code):
            assert subcommand in SUBCOMMANDS


def test_the_readme_shows_every_server() -> None:
    from serving.server import list_servers

    readme = (ROOT / "README.md").read_text()
    assert not [name for name in list_servers() if f"| `{name}` |" not in readme]
