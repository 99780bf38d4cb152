"""The twins' code side by side: a diff of the two training scripts, line by line and word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from contract import ROOT
from loadtest.report.markup import Html, element

TWINS = (ROOT / "training" / "train_tensorflow.py", ROOT / "training" / "train_pytorch.py")


@dataclass(frozen=True)
class Pair:
    """Two lines side by side with their numbers; None where one side has no such line."""

    left: tuple[int, str] | None
    right: tuple[int, str] | None

    @property
    def same(self) -> bool:
        """Whether both sides read the same."""
        return self.left is not None and self.right is not None and self.left[1] == self.right[1]


def pair_lines(left: list[str], right: list[str]) -> list[Pair]:
    """Align two texts, equal lines opposite each other."""
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    return [pair for _, i1, i2, j1, j2 in matcher.get_opcodes() for pair in _block(left, right, (i1, i2), (j1, j2))]


def _block(left: list[str], right: list[str], one: tuple[int, int], two: tuple[int, int]) -> Iterator[Pair]:
    for i, j in zip_longest(range(*one), range(*two)):
        yield Pair(None if i is None else (i + 1, left[i]), None if j is None else (j + 1, right[j]))


def diff_view(twins: tuple[Path, Path] = TWINS) -> Html | None:
    """A table of the twins' lines with what differs marked, or None where the scripts are not beside the report."""
    if not all(path.is_file() for path in twins):
        return None
    left, right = (path.read_text().splitlines() for path in twins)
    pairs = pair_lines(left, right)
    same = sum(pair.same for pair in pairs)
    head = element("thead", element("tr", [element("th", path.name, colspan=2, scope="col") for path in twins]))
    widths = element("colgroup", [element("col") for _ in range(4)])
    table = element("table", widths, head, element("tbody", [_line(pair) for pair in pairs]), class_="diff")
    total = max(len(left), len(right))
    told = element("p", f"{same} of {total} lines are the same, word for word; what differs is marked.")
    frame = element("div", table, class_="scroll", tabindex=0, role="region", aria_label="The twins' code side by side")
    return Html(told + frame)


def _line(pair: Pair) -> Html:
    if pair.same and pair.left and pair.right:
        return element("tr", _side(pair.left[0], pair.left[1]), _side(pair.right[0], pair.right[1]))
    if pair.left and pair.right:
        one, two = _words(pair.left[1], pair.right[1])
        return element("tr", _side(pair.left[0], one, "del"), _side(pair.right[0], two, "ins"), class_="changed")
    sides = (_side(*side, kind) if side else _gap() for side, kind in ((pair.left, "del"), (pair.right, "ins")))
    return element("tr", sides, class_="changed")


def _side(number: int, content: str | Html, kind: str = "") -> Html:
    return Html(
        element("td", number, class_="line-number") + element("td", element("code", content), class_=kind or None)
    )


def _gap() -> Html:
    return element("td", colspan=2, class_="gap")


def _words(left: str, right: str) -> tuple[Html, Html]:
    """Both lines with the words that differ marked."""
    one, two = (re.findall(r"\w+|\s+|[^\w\s]", side) for side in (left, right))
    codes = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    marked: tuple[list[Html | str], list[Html | str]] = ([], [])
    for kind, i1, i2, j1, j2 in codes:
        for parts, found, tag in ((marked[0], one[i1:i2], "del"), (marked[1], two[j1:j2], "ins")):
            words = "".join(found)
            parts.append(words if kind == "equal" or not words else element(tag, words))
    return Html(element("span", marked[0])), Html(element("span", marked[1]))
