"""What a conformance case is: a claim, how much it binds, where it is written, and the check that tries it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.conformance.subject import Subject

LEVELS = ("MUST", "SHOULD", "REPORT")
"""MUST: the protocol demands it. SHOULD: it calls it typical, or its reference server does it. REPORT: it is open."""

Check = Callable[[Subject], str | None]
"""Raises Violation where the server does otherwise; a REPORT case returns what it saw."""


class Violation(Exception):  # noqa: N818 - a finding about the server, and no error of the run
    """The server did something else; the text says what it did."""


class NotApplicable(Exception):  # noqa: N818 - a finding about the server, and no error of the run
    """The claim is about something that this model or server has not got; the text says what."""


@dataclass(frozen=True)
class Case:
    """One claim about one API."""

    api: str
    name: str
    level: str
    source: str
    check: Check


class Cases(list[Case]):
    """The cases of one module, in the order in which they are written: `@cases.must("source")` adds a function.

    The first line of the function's docstring is the claim and the name of the case.
    """

    def __init__(self, api: str, document: str) -> None:
        """Cases of `api` whose sources are places in `document`."""
        super().__init__()
        self._api, self._document = api, document

    def must(self, place: str) -> Callable[[Check], Check]:
        """Add a case that the protocol demands."""
        return self._adder("MUST", place)

    def should(self, place: str) -> Callable[[Check], Check]:
        """Add a case that the protocol calls typical, or that its reference server shows."""
        return self._adder("SHOULD", place)

    def report(self, place: str) -> Callable[[Check], Check]:
        """Add a case that is only looked at."""
        return self._adder("REPORT", place)

    def add(self, name: str, level: str, place: str, check: Check) -> None:
        """Add a case that was made from data."""
        self.append(Case(self._api, name, level, f"{self._document}, {place}", check))

    def _adder(self, level: str, place: str) -> Callable[[Check], Check]:
        def adder(check: Check) -> Check:
            claim = (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")
            self.add(claim, level, place, check)
            return check

        return adder


def expect(holds: bool, observed: Any) -> None:
    """Raise Violation with what was observed unless the claim holds."""
    if not holds:
        raise Violation(brief(observed))


def brief(value: Any, characters: int = 160) -> str:
    """A value on one short line."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
