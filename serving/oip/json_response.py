"""Answers of the Open Inference Protocol over REST: JSON, or JSON with binary tensors behind it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from serving.hosting.errors import RequestError
from serving.hosting.signature import Signature
from serving.hosting.tensors import as_bytes, to_bytes
from serving.oip.json_request import Wants

PIECE_ELEMENTS = 1 << 16
"""A list is written in pieces of so many elements: the writer holds the interpreter's lock for each."""


def encode_answer(
    head: Mapping[str, Any], outputs: Mapping[str, np.ndarray], wants: Wants, signature: Signature
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where tensors follow; `head` is all but the outputs."""
    described: list[bytes] = []
    tails: list[bytes] = []
    wanted, specs, all_binary = wants.outputs, signature.outputs, wants.binary_output
    for name in wanted or specs:
        array, datatype = outputs[name], specs[name].datatype
        is_binary = wanted.get(name) if wanted else None
        if all_binary if is_binary is None else is_binary:
            tail = to_bytes(array, datatype)
            described.append(_description(name, datatype, array.shape, len(tail)))
            tails.append(tail)
        else:
            data = orjson.dumps(_list(name, array, datatype), option=orjson.OPT_SERIALIZE_NUMPY)
            described.append(b'%b,"data":%b}' % (_description(name, datatype, array.shape)[:-1], data))
    opening = orjson.dumps(head)[:-1] + b"," if head else b"{"
    text = b'%b"outputs":[%b]}' % (opening, b",".join(described))
    return (b"".join((text, *tails)), len(text)) if tails else (text, None)


@lru_cache(1024)
def _description(name: str, datatype: str, shape: tuple[int, ...], binary_bytes: int | None = None) -> bytes:
    """The JSON of an output without its data: the same for every answer of this shape."""
    fields: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if binary_bytes is not None:
        fields["parameters"] = {"binary_data_size": binary_bytes}
    return orjson.dumps(fields)


def _list(name: str, array: np.ndarray, datatype: str) -> Any:
    """What orjson writes as a flat list: shortest text that reads back as the same number."""
    if datatype == "BYTES":
        try:
            return [as_bytes(element).decode() for element in array.ravel()]
        except UnicodeDecodeError:
            raise RequestError(400, f"output {name!r} has bytes that are no text: ask for it as binary data") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestError(
            400, f"output {name!r} has NaN or Infinity, which JSON can't hold: ask for it as binary data"
        )
    flat = np.ascontiguousarray(array).ravel()
    if flat.size <= PIECE_ELEMENTS:
        return flat
    starts = range(0, flat.size, PIECE_ELEMENTS)
    texts = [
        orjson.dumps(flat[start : start + PIECE_ELEMENTS], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for start in starts
    ]
    return orjson.Fragment(b"".join((b"[", b",".join(texts), b"]")))
