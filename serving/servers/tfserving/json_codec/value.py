"""Parsed JSON values: their names in messages, their text in messages, and the bytes that they stand for.

Values are None, bool, int, float, str, list and dict, as `reader` makes them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from serving.servers.tfserving.status import invalid

DUMP_CHARACTERS = 256
"""A value in an error message stops at the first token that begins behind so many characters."""
LONGEST_DUMP = 4096
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BLANKS = str.maketrans("", "", " \t\n\v\f\r")
_TYPE_NAMES = {
    type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def type_name(value: Any) -> str:
    """The name of a value's type, as the genuine server says it."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def dump(value: Any) -> str:
    """A value as error messages show it."""
    text = ""
    for token in _ENCODER.iterencode(value):
        text += token[:LONGEST_DUMP]
        if len(text) >= DUMP_CHARACTERS:
            break
    return text


def to_bytes(text: str) -> bytes:
    """The bytes of a string, as the client sent those that are no UTF-8; raises Status for half a surrogate pair."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "<text>"}` and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: dict[str, str]) -> bytes:
    """The bytes of a `{"b64": …}`: standard alphabet, blanks are skipped, padding may be left out."""
    text = value["b64"].translate(_BLANKS)
    stripped = text.rstrip("=")
    try:
        if not _BASE64.fullmatch(text) or (len(text) != len(stripped) and len(text) % 4):
            raise invalid("Unable to base64 decode")
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4))
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None
