"""Answers of the Open Inference Protocol over REST: JSON, or JSON with binary tensors behind it."""

from __future__ import annotations

from collections.abc import Mapping
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
    described: list[dict[str, Any]] = []
    tails: list[bytes] = []
    wanted, specs, all_binary = wants.outputs, signature.outputs, wants.binary_output
    for name in wanted or specs:
        array, datatype = outputs[name], specs[name].datatype
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        is_binary = wanted.get(name) if wanted else None
        if all_binary if is_binary is None else is_binary:
            tail = to_bytes(array, datatype)
            entry["parameters"] = {"binary_data_size": len(tail)}
            tails.append(tail)
        else:
            entry["data"] = _list(name, array, datatype)
        described.append(entry)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    if tails:
        return b"".join((text, *tails)), len(text)
    return text, None


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
