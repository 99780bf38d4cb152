"""Reads JSON as RapidJSON 1.1 does with the options of TensorFlow Serving: its leniencies, its errors, its offsets.

NaN and Inf are numbers, a byte order mark is skipped, what follows the first value is ignored, a NUL ends the text, a
string's bytes are copied unchecked, doubles are not always the nearest, denormals are zero. Nesting has no limit: the
parser keeps its own stack. This is the exact path; `fast.py` reads the usual request.

Source of the behaviour: rapidjson/reader.h, v1.1.0, `IterativeParse` with kParseNanAndInf and kParseStopWhenDone.
"""

from __future__ import annotations

import re
from typing import Any

from serving.servers.tfserving.json_codec.numbers import INVALID, ParseError, read_number
from serving.servers.tfserving.status import Status, invalid


class JsonObject(list[tuple[bytes, Any]]):
    """The members in the order of the text, duplicates included."""

    __slots__ = ()

    def find(self, key: bytes, default: Any = None) -> Any:
        """The value of the first member called `key`."""
        return next((value for name, value in self if name == key), default)

    def has(self, key: bytes) -> bool:
        """Whether there is a member called `key`."""
        return any(name == key for name, _ in self)


MAX_DEPTH = 100_000
"""A tensor has at most 254 dimensions; the bound keeps a body of brackets from filling the memory."""
_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = {0x22: b'"', 0x2F: b"/", 0x5C: b"\\", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}
_WORDS = {0x6E: (b"null", None), 0x74: (b"true", True), 0x66: (b"false", False)}


def read_object(body: bytes) -> JsonObject:
    """Parse a request body, which has to be a JSON object; raises Status with RapidJSON's text and offset.

    Values are None, bool, int (what RapidJSON keeps as an integer), float, bytes (strings), list and JsonObject.
    """
    value = read_value(body)
    if not isinstance(value, JsonObject):
        from serving.servers.tfserving.json_codec.writer import dump

        raise invalid(f"JSON Value: {dump(value)} Is not object")
    return value


def read_value(body: bytes) -> Any:
    """Parse the first JSON value in `body`."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        return _parse(body + b"\0")  # RapidJSON takes a NUL, or the end, for the end
    except ParseError as error:
        raise _as_status(error) from None


def _as_status(error: ParseError) -> Status:
    return invalid(f"JSON Parse error: {error.text} at offset: {error.offset}")


def _parse(text: bytes) -> Any:
    """Walk the text with a stack of open containers; `wait` says what RapidJSON's automaton waits for."""
    at = 0
    for byte in (0xEF, 0xBB, 0xBF):  # each on its own, as EncodedInputStream skips them
        at += text[at] == byte
    root: list[Any] = []
    stack: list[tuple[Any, bytes]] = []
    container: Any = root
    key = b""
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    if text[at] in b"\0]},:":
        raise ParseError("The document is empty.", at)
    while True:
        value: Any
        byte = text[at]
        if byte == 0x5B:  # [
            value, at = [], _skip(text, at + 1)
            empty, closer = text[at] == 0x5D, 0x5D
        elif byte == 0x7B:  # {
            value, at = JsonObject(), _skip(text, at + 1)
            empty, closer = text[at] == 0x7D, 0x7D
        else:
            (value, at), closer = _read_scalar(text, at), 0
        _put(container, key, value)
        if closer and not empty:
            if len(stack) >= MAX_DEPTH:
                raise ParseError(f"Nested deeper than {MAX_DEPTH}.", at)
            stack.append((container, key))
            container = value
            if closer == 0x7D:
                key, at = _read_key(text, at)
            continue
        at += bool(closer)
        while container is not root:  # after a value: a delimiter, or the end of one or more containers
            at = _skip(text, at)
            is_object = isinstance(container, JsonObject)
            if text[at] == 0x2C:  # ,
                at = _skip(text, at + 1)
                if is_object:
                    key, at = _read_key(text, at)
                elif text[at] in b"\0],}:":
                    raise ParseError(INVALID, at)
                break
            if text[at] != (0x7D if is_object else 0x5D):
                what = "'}' after an object member." if is_object else "']' after an array element."
                raise ParseError(f"Missing a comma or {what}", at)
            container, key = stack.pop()
            at += 1
        else:
            return root[0]


def _put(container: Any, key: bytes, value: Any) -> None:
    container.append((key, value) if isinstance(container, JsonObject) else value)


def _skip(text: bytes, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _read_key(text: bytes, at: int) -> tuple[bytes, int]:
    """A member's name and its colon."""
    if text[at] != 0x22:
        raise ParseError("Missing a name for object member.", at)
    key, at = _read_string(text, at + 1)
    at = _skip(text, at)
    if text[at] != 0x3A:
        raise ParseError("Missing a colon after a name of object member.", at)
    at = _skip(text, at + 1)
    if text[at] in b"\0],}:":
        raise ParseError(INVALID, at)
    return key, at


def _read_scalar(text: bytes, at: int) -> tuple[Any, int]:
    byte = text[at]
    if byte == 0x22:
        return _read_string(text, at + 1)
    if byte in _WORDS:
        word, value = _WORDS[byte]
        for letter in word:
            if text[at] != letter:
                raise ParseError(INVALID, at)
            at += 1
        return value, at
    return read_number(text, at)


def _read_string(text: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    while True:
        end = _PLAIN.match(text, at).end()  # type: ignore[union-attr]
        parts.append(text[at:end])
        byte = text[end]
        if byte == 0x22:
            return b"".join(parts), end + 1
        if byte != 0x5C:
            quotation = "Missing a closing quotation mark in string."
            raise ParseError("Invalid escape character in string." if byte else quotation, end)
        decoded, at = _read_escape(text, end)
        parts.append(decoded)


def _read_escape(text: bytes, start: int) -> tuple[bytes, int]:
    """What the escape at `start`, its backslash, stands for; errors are reported at the backslash."""
    letter = text[start + 1]
    if letter in _ESCAPES:
        return _ESCAPES[letter], start + 2
    if letter != 0x75:  # u
        raise ParseError("Invalid escape character in string.", start)
    code, at = _read_hex(text, start + 2, start), start + 6
    if 0xD800 <= code <= 0xDBFF:
        if text[at : at + 2] != b"\\u":
            raise ParseError("The surrogate pair in string is invalid.", start)
        low, at = _read_hex(text, at + 2, start), at + 6
        if not 0xDC00 <= low <= 0xDFFF:
            raise ParseError("The surrogate pair in string is invalid.", start)
        code = ((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
    return chr(code).encode("utf-8", "surrogatepass"), at  # a lone low surrogate passes, as three bytes


def _read_hex(text: bytes, at: int, escape: int) -> int:
    if not _HEX4.match(text, at):
        raise ParseError("Incorrect hex digit after \\u escape in string.", escape)
    return int(text[at : at + 4], 16)
