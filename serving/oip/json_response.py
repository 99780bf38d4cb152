"""Answers of the Open Inference Protocol over REST: JSON, or JSON with binary tensors behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serving.hosting.signature import Refusal, Signature, as_bytes, to_bytes
from serving.oip.json_request import Wants


def encode_answer(
    head: Mapping[str, Any], outputs: Mapping[str, np.ndarray], wants: Wants, signature: Signature
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where tensors follow; `head` is all but the outputs."""
    names = wants.outputs or signature.outputs
    shapes = tuple([outputs[name].shape for name in names]) if wants.heads is not None else ()
    text = wants.heads.get(shapes) if wants.heads else None
    if text is not None:  # the same question had the same answer but for the numbers
        return b"".join([text, *[to_bytes(outputs[n], signature.outputs[n].datatype) for n in names]]), len(text)
    described: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for name in names:
        array, datatype = outputs[name], signature.outputs[name].datatype
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        own = wants.outputs.get(name)
        if wants.binary_output if own is None else own:
            tail = to_bytes(array, datatype)
            entry["parameters"] = {"binary_data_size": len(tail)}
            tails.append(tail)
        else:
            entry["data"] = _listable(name, array, datatype)
        described.append(entry)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    fixed = all(signature.outputs[name].datatype != "BYTES" for name in names)
    if wants.heads is not None and len(tails) == len(described) and fixed and "parameters" not in head:
        wants.heads[shapes] = text
    return (b"".join((text, *tails)), len(text)) if tails else (text, None)


def _listable(name: str, array: np.ndarray, datatype: str) -> Any:
    """What orjson writes as a flat list: shortest text that reads back as the same number."""
    if datatype == "BYTES":
        try:
            return [as_bytes(element).decode() for element in array.ravel()]
        except UnicodeDecodeError:
            raise Refusal(400, f"output {name!r} has bytes that are no text: ask for it as binary data") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Refusal(400, f"output {name!r} has NaN or Infinity, which JSON can't hold: ask for it as binary data")
    return np.ascontiguousarray(array).ravel()
