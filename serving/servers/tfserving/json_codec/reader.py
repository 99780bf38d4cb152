"""Reads a request body as JSON, with the leniencies of the genuine server.

NaN, Inf and Infinity are numbers, a byte order mark is skipped, what follows the first value is ignored, the first of
two members of one name counts, bytes that are no UTF-8 are kept, integers beyond 64 bits are doubles. Python's own
parser reads; error texts begin as RapidJSON's do and go on in its words.
"""

from __future__ import annotations

import json
import re
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # has no stub
from typing import Any

from serving.servers.tfserving.json_codec.value import dump
from serving.servers.tfserving.status import Status, invalid

BOM = b"\xef\xbb\xbf"
LONG_BODY_BYTES = 1 << 20
"""From here on Python's parser in Python reads, which lets other threads run between values; the one in C does not."""
_INF = re.compile(r'"(?:[^"\\]|\\.)*"|Inf(?!inity)', re.DOTALL)


def read_object(body: bytes | memoryview) -> dict[str, Any]:
    """Parse a request body, which has to be a JSON object; raises Status."""
    value = read_value(body)
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {dump(value)} Is not object")
    return value


def read_value(body: bytes | memoryview) -> Any:
    """Parse the first JSON value in `body`; raises Status."""
    text = bytes(body).removeprefix(BOM).decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(" \n\r\t"))
    if start == len(text):
        raise invalid("JSON Parse error: The document is empty" + (f". at offset: {start}" if start else ""))
    if "Inf" in text:
        text = "".join(_with_infinity(text))
    try:
        return (_DECODER if len(body) < LONG_BODY_BYTES else _PATIENT).raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        raise _parse_error(f"{error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise _parse_error("Nested too deep.") from None


def _with_infinity(text: str) -> list[str]:
    """The text in pieces, `Inf` outside strings as `Infinity`, the one that Python's parser knows."""
    pieces, end = [], 0
    for match in _INF.finditer(text):
        if match[0] == "Inf":
            pieces += [text[end : match.start()], "Infinity"]
            end = match.end()
    return [*pieces, text[end:]]


def _integer(text: str) -> int | float:
    number = int(text) if len(text) <= 20 else 2**64
    return number if -(2**63) <= number < 2**64 else _double(text)


def _double(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _parse_error("Number too big to be stored in double.")
    return number


def _first_of_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(members)
    if len(document) < len(members):
        document.update(reversed(members))
    return document


def _parse_error(text: str) -> Status:
    return invalid(f"JSON Parse error: {text}")


class _PatientDecoder(json.JSONDecoder):
    """Python's decoder with its scanner in Python, between whose steps other threads run."""

    def __init__(self, **hooks: Any) -> None:
        super().__init__(**hooks)
        self.scan_once = py_make_scanner(self)


_HOOKS: dict[str, Any] = {"object_pairs_hook": _first_of_each, "parse_int": _integer, "parse_float": _double}
_DECODER, _PATIENT = json.JSONDecoder(**_HOOKS), _PatientDecoder(**_HOOKS)
