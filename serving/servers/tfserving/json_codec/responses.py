"""The bodies of REST answers, laid out as the genuine server's PrettyWriter lays them out.

Source of the layout: `MakeJsonFromTensors` and its neighbours in util/json_tensor.cc of github.com/tensorflow/serving.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from serving.servers.tfserving.json_codec.writer import float_texts, quote, refuse_type
from serving.servers.tfserving.model.signatures import KIND_OF
from serving.servers.tfserving.status import invalid

INDENT = "    "
_AS_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


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
        elements = _inline(_texts(alias, array, 2), array.shape[1:], rows)
        if not elements:
            return _encode('{\n    "predictions": []\n}')
        return _encode('{\n    "predictions": [' + ", ".join(elements) + "\n    ]\n}")
    return _encode('{\n    "predictions": ' + _object_rows(outputs, rows) + "\n}")


def columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The columnar format: each tensor whole, every element on a line of its own."""
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return _encode('{\n    "outputs": ' + _block(alias, array, 1) + "\n}")
    members = (f"{_quoted(alias)}: {_block(alias, array, 2)}" for alias, array in outputs.items())
    return _encode('{\n    "outputs": {\n        ' + f",\n{INDENT * 2}".join(members) + "\n    }\n}")


def classifications(classes: np.ndarray | None, scores: np.ndarray | None, examples: int) -> bytes:
    """Per example a list of [label, score]; a missing label is empty, a missing score zero."""
    if not examples:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    shape = next(array.shape for array in (classes, scores) if array is not None)
    count = shape[0] * shape[1]
    labels = ['""'] * count if classes is None else _texts("", classes, 0)
    values = ["0.0"] * count if scores is None else float_texts(scores)
    pairs = [f"[{label}, {value}]" for label, value in zip(labels, values, strict=True)]
    return _encode('{\n    "results": [' + ", ".join(_inline(pairs, shape[1:], shape[0])) + "\n    ]\n}")


def regressions(values: np.ndarray) -> bytes:
    """One number per example."""
    if not values.size:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _encode('{\n    "results": [' + ", ".join(float_texts(values)) + "]\n}")


def _object_rows(outputs: Mapping[str, np.ndarray], rows: int) -> str:
    if not rows:
        return "[]"
    names = [_quoted(alias) for alias in outputs]
    tables = [_inline(_texts(a, array, 3), array.shape[1:], rows) for a, array in outputs.items()]
    objects = []
    for row in zip(*tables, strict=True):
        members = f",\n{INDENT * 3}".join(f"{name}: {value}" for name, value in zip(names, row, strict=True))
        objects.append(f"\n{INDENT * 2}{{\n{INDENT * 3}{members}\n{INDENT * 2}}}")
    return "[" + ",".join(objects) + f"\n{INDENT}]"


def _inline(texts: Sequence[str], shape: Sequence[int], rows: int) -> Sequence[str]:
    """The elements of `rows` tensors of `shape`, each as a list on one line."""
    for index in range(len(shape) - 1, -1, -1):
        size, groups = shape[index], rows
        for outer in shape[:index]:
            groups *= outer
        texts = ["[" + ", ".join(texts[start * size : (start + 1) * size]) + "]" for start in range(groups)]
    return texts


def _block(alias: str, array: np.ndarray, level: int) -> str:
    """A tensor over many lines, below `level` open brackets."""
    texts: Sequence[str] = _texts(alias, array, level + array.ndim)
    for index in range(array.ndim - 1, -1, -1):
        size, groups = array.shape[index], 1
        for outer in array.shape[:index]:
            groups *= outer
        indent, closing = f"\n{INDENT * (level + index + 1)}", f"\n{INDENT * (level + index)}]"
        texts = [_lines(texts[start * size : (start + 1) * size], indent, closing) for start in range(groups)]
    return texts[0]


def _lines(elements: Sequence[str], indent: str, closing: str) -> str:
    return "[" + indent + f",{indent}".join(elements) + closing if elements else "[]"


def _texts(alias: str, array: np.ndarray, level: int) -> Sequence[str]:
    """The JSON of every element; `level` is the number of brackets open around one."""
    kind = KIND_OF.get(array.dtype)
    if kind is not None and kind.name in ("float", "double"):
        return float_texts(array)
    if kind is not None and kind.name in _AS_INTEGERS:
        return [str(value) for value in array.ravel().tolist()]
    if kind is not None and kind.name == "bool":
        return ["true" if value else "false" for value in array.ravel().tolist()]
    if kind is not None and kind.name == "string":
        values = array.ravel().tolist()
        return list(_as_base64(values, level) if alias.endswith("_bytes") else map(_quoted, values))
    raise refuse_type(kind.name if kind else str(array.dtype))


def _as_base64(values: Iterable[bytes], level: int) -> Iterable[str]:
    for value in values:
        text = base64.b64encode(value).decode()
        yield f'{{\n{INDENT * (level + 1)}"b64": "{text}"\n{INDENT * level}}}'


def _quoted(text: str | bytes) -> str:
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return quote(raw).decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
