"""The bodies of REST answers: values as the genuine server's, floats as the shortest text that reads back the same.

Source of the structure: `MakeJsonFromTensors` and its neighbours in util/json_tensor.cc of
github.com/tensorflow/serving. Large tensors are written in pieces, between which other threads run.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import numpy as np
import orjson

from serving.servers.tfserving.model.signatures import KIND_OF
from serving.servers.tfserving.status import invalid

PIECE_BYTES = 1 << 18
"""What one call of the encoder writes at most, in bytes of the tensor."""
NUMBERS = ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool")


def error_body(message: str) -> bytes:
    """The body of every REST error."""
    return b'{"error": ' + _string(message) + b"}"


def predictions(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The row format: one element a row; a value where there is one output, else an object."""
    rows = -1
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        if rows not in (-1, len(array)):
            raise invalid(f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return b'{"predictions": ' + _tensor(alias, array) + b"}"
    objects = (_object(dict(zip(outputs, row, strict=True))) for row in zip(*outputs.values(), strict=True))
    return b'{"predictions": [' + b", ".join(objects) + b"]}"


def columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The columnar format: each tensor whole."""
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return b'{"outputs": ' + _tensor(alias, array) + b"}"
    return b'{"outputs": ' + _object(outputs) + b"}"


def classifications(classes: np.ndarray | None, scores: np.ndarray | None, examples: int) -> bytes:
    """Per example a list of [label, score]; a missing label is empty, a missing score zero."""
    if not examples:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    count = next(array.shape[1] for array in (classes, scores) if array is not None)
    labels = repeat(b'""') if classes is None else (_string(label) for label in classes.ravel())
    values = repeat(b"0.0") if scores is None else (_tensor("", score) for score in scores.ravel())
    pairs = (b"[" + label + b", " + value + b"]" for label, value in zip(labels, values, strict=False))
    rows = (b"[" + b", ".join([next(pairs) for _ in range(count)]) + b"]" for _ in range(examples))
    return b'{"results": [' + b", ".join(rows) + b"]}"


def regressions(values: np.ndarray) -> bytes:
    """One number per example."""
    if not values.size:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return b'{"results": ' + _tensor("", values) + b"}"


def _object(outputs: Mapping[str, Any]) -> bytes:
    members = (_string(alias) + b": " + _tensor(alias, value) for alias, value in outputs.items())
    return b"{" + b", ".join(members) + b"}"


def _tensor(alias: str, value: Any) -> bytes:
    """Nested lists, or one element; raises Status for a type that the genuine server can't write."""
    array = np.asarray(value, object if isinstance(value, bytes) else None)
    kind = KIND_OF.get(array.dtype)
    if kind is None or kind.name not in (*NUMBERS, "string"):
        raise invalid(f"Failed to write JSON value for tensor type: {kind.name if kind else array.dtype}")
    if array.ndim and array.nbytes > PIECE_BYTES:
        return b"[" + b",".join(_pieces(alias, array)) + b"]"
    if kind.name == "string":
        return _strings(array, as_base64=alias.endswith("_bytes"))
    text = orjson.dumps(np.ascontiguousarray(array) if array.ndim else array[()], option=orjson.OPT_SERIALIZE_NUMPY)
    return _with_names(text, array) if array.dtype.kind == "f" and b"null" in text else text


def _pieces(alias: str, array: np.ndarray) -> Iterator[bytes]:
    """The elements of a large list, some at a time."""
    size = max(1, PIECE_BYTES // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), size):
        yield _tensor(alias, array[start : start + size])[1:-1] if size > 1 else _tensor(alias, array[start])


def _with_names(text: bytes, array: np.ndarray) -> bytes:
    """The text with NaN and Infinity, which are bare in the genuine server's JSON, where the encoder wrote null."""
    names = (
        b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"
        for value in array[~np.isfinite(array)].tolist()
    )
    parts = text.split(b"null")
    return b"".join(chain.from_iterable(zip(parts, chain(names, (b"",)), strict=True)))


def _strings(array: np.ndarray, *, as_base64: bool) -> bytes:
    elements: Iterable[bytes] = array.ravel().tolist()
    if as_base64:
        texts = [b'{"b64": "' + base64.b64encode(element) + b'"}' for element in elements]
    else:
        texts = [_string(element) for element in elements]
    for index in range(array.ndim - 1, -1, -1):
        size, groups = array.shape[index], math.prod(array.shape[:index])
        texts = [b"[" + b", ".join(texts[group * size : (group + 1) * size]) + b"]" for group in range(groups)]
    return texts[0]


def _string(text: str | bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 go out as they are, half a surrogate pair as a question mark."""
    quoted = json.dumps(text if isinstance(text, str) else text.decode("utf-8", "surrogateescape"), ensure_ascii=False)
    try:
        return quoted.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return quoted.encode("utf-8", "replace")
