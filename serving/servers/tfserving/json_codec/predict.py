"""From any JSON request to tensors: every check and message of the genuine server, in its order.

Source of the behaviour: `FillPredictRequestFromJson` in util/json_tensor.cc of github.com/tensorflow/serving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from serving.servers.tfserving.json_codec.reader import read_object
from serving.servers.tfserving.json_codec.value import decode_base64, dump, is_base64, to_bytes, type_name
from serving.servers.tfserving.model.signatures import DEFAULT, Kind, Port, Signature
from serving.servers.tfserving.status import Status, invalid

MAX_RANK = 64
"""NumPy's limit; the genuine server's is 254, with the same message."""
SMALLEST = {4: np.float32(1.17549435e-38), 8: np.float64(2.2250738585072014e-308)}
"""The smallest normal number by item size: the genuine server's REST threads flush what is below to zero."""
PIECE = 1 << 16
"""Elements that are copied at a time; other threads run in between."""

Request = tuple[Signature, dict[str, np.ndarray], bool]
"""The signature, the tensors by alias, and whether the request was in the row format."""


def read_predict(body: bytes | memoryview, find: Callable[[str], Signature]) -> Request:
    """Tensors from a predict request; `find` gives the signature of a name, or raises."""
    document = read_object(body)
    signature = find(signature_name(document))
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {signature.name or 'DEFAULT'}")
    if "instances" in document:
        if "inputs" in document:
            expected = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            raise invalid(f"JSON Value: {dump(document)} {expected}")
        rows = document["instances"]
        if type(rows) is not list:
            raise invalid(f"JSON Value: {dump(document)} Expecting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {dump(document)} No values in 'instances' array")
        return signature, _from_rows(rows, signature), True
    if "inputs" in document:
        return signature, _from_columns(document["inputs"], signature), False
    raise invalid("Missing 'inputs' or 'instances' key")


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names, or the default."""
    name = document.get("signature_name", DEFAULT)
    if not isinstance(name, str):
        expected = "not formatted correctly. 'signature_name' key must be a string value."
        raise invalid(f"JSON Value: {dump(document)} {expected}")
    return name or DEFAULT


# the row format


class _Column:
    """One input while the rows are read."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.values: list[Any] = []
        self.shape: tuple[int, ...] | None = None
        self.size = 0

    def add(self, value: Any) -> None:
        """Append one row; it has to have as many elements, in the same shape, as the first."""
        before = len(self.values)
        shape = _fill(value, self.port, self.values)
        size = len(self.values) - before
        if self.shape is None:
            self.shape, self.size = shape, size
        elif size != self.size:
            raise invalid(f"Expecting tensor size: {self.size} but got: {size}")
        elif shape != self.shape:
            raise invalid(f"Expecting shape {_show(self.shape)} but got: {_show(shape)}")


def _from_rows(rows: list[Any], signature: Signature) -> dict[str, np.ndarray]:
    ports = signature.inputs
    if not isinstance(rows[0], dict) and len(ports) > 1:
        expected = "expecting list of objects as multiple input tensors required as per tensorinfo_map"
        raise invalid(f"instances is a plain list, but {expected}")
    columns: dict[str, _Column] = {}
    if isinstance(rows[0], dict) and not is_base64(rows[0]):
        for index, row in enumerate(rows):
            _add_object(index, row, ports, columns)
    else:
        alias = next(iter(ports))
        column = columns[alias] = _Column(ports[alias])
        for index, row in enumerate(rows):
            if isinstance(row, dict) and not is_base64(row):
                raise invalid(f"Expecting value/list but got object at item {index} of input list")
            try:
                column.add(row)
            except Status as error:
                raise invalid(f"Failed to process element: {index} of 'instances' list. Error: {error}") from None
    return {
        alias: _array(column.values, (len(rows), *(column.shape or ())), column.port)
        for alias, column in columns.items()
    }


def _add_object(index: int, row: Any, ports: dict[str, Port], columns: dict[str, _Column]) -> None:
    if not isinstance(row, dict) or is_base64(row):
        raise invalid(f"Expecting object but got list at item {index} of input list")
    for name, value in row.items():
        try:
            if name not in ports:
                raise invalid(f"JSON object: does not have named input: {name}")
            if name not in columns:
                columns[name] = _Column(ports[name])
            columns[name].add(value)
        except Status as error:
            where = f"Failed to process element: {index} key: {name} of 'instances' list."
            raise invalid(f"{where} Error: {error}") from None
    if row.keys() != ports.keys():
        where = f"Failed to process element: {index} of 'instances' list."
        raise invalid(f"{where} JSON object: {dump(row)} keys must be equal to: {','.join(ports)}")


# the columnar format


def _from_columns(value: Any, signature: Signature) -> dict[str, np.ndarray]:
    ports = signature.inputs
    if not isinstance(value, dict) or is_base64(value):
        if len(ports) > 1:
            expected = "expecting an object as multiple input tensors required as per tensorinfo_map"
            raise invalid(f"inputs is a plain value/list, but {expected}")
        return {alias: _tensor(value, port) for alias, port in ports.items()}
    tensors = {}
    for alias, port in ports.items():
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
        tensors[alias] = _tensor(value[alias], port)
    return tensors


def _tensor(value: Any, port: Port) -> np.ndarray:
    values: list[Any] = []
    return _array(values, _fill(value, port, values), port)


# values


def _fill(value: Any, port: Port, values: list[Any]) -> tuple[int, ...]:
    """Append the elements of a nested list; the shape is that along the first elements, all has to agree with it."""
    shape = _shape(value)
    rank, kind = len(shape), port.kind
    if rank == 0:
        values.append(_element(value, kind))
        return shape
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for item in stack[-1]:
            level = len(stack) - 1
            if type(item) is list:
                if level >= rank:
                    raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
                if len(item) != shape[level]:
                    size = f"Encountered list at unexpected size: {len(item)} at level: {level}"
                    raise invalid(f"{size} expected size: {shape[level]}")
                stack.append(iter(item))
                break
            if level != rank:
                place = f"JSON Value: {dump(item)} found at incorrect level: {level + 1} in the JSON DOM."
                raise invalid(f"{place} Expected at level: {rank}")
            values.append(_element(item, kind))
        else:
            stack.pop()
    return shape


def _shape(value: Any) -> tuple[int, ...]:
    sizes = []
    while type(value) is list:
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(sizes)


def _element(value: Any, kind: Kind | None) -> Any:
    name = kind.name if kind else "invalid"
    kind_json = kind.json if kind else None
    if isinstance(value, dict):
        if name == "string":
            if not is_base64(value):
                raise invalid(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
            return decode_base64(value)
        fits = False
    elif name in ("float", "double"):
        fits = type(value) in (int, float)
    elif kind_json is not None:
        fits = type(value) is int and kind_json[0] <= value <= kind_json[1]
    elif name in ("bool", "string"):
        fits = type(value) is (bool if name == "bool" else str)
    else:
        raise Status("UNIMPLEMENTED", f"Conversion of JSON Value: {dump(value)} to type: {name}")
    if not fits:
        raise invalid(f"JSON Value: {dump(value)} Type: {type_name(value)} is not of expected type: {name}")
    return to_bytes(value) if name == "string" else value


def _array(values: list[Any], shape: tuple[int, ...], port: Port) -> np.ndarray:
    if len(shape) > MAX_RANK or port.kind is None:
        raise invalid(f"tensor parsing error: {port.alias}")
    count = math.prod(shape)
    return to_array(values[:count], port.kind).reshape(shape)


def to_array(values: list[Any], kind: Kind) -> np.ndarray:
    """Checked JSON values as a flat array: integers wrap to the type, denormals become zero, strings stay objects."""
    wide: Any = np.float64 if kind.json is None else np.uint64 if kind.name == "uint64" else np.int64
    array = np.empty(len(values), kind.dtype if kind.name in ("string", "bool") else wide)
    for start in range(0, len(values), PIECE):
        array[start : start + PIECE] = values[start : start + PIECE]
    if array.dtype == kind.dtype and kind.name != "double":
        return array
    return flush(array, kind) if kind.json is None else array.astype(kind.dtype)


def flush(doubles: np.ndarray, kind: Kind) -> np.ndarray:
    """Doubles as the kind's type, what is below its smallest normal number as a zero with its sign."""
    with np.errstate(over="ignore", under="ignore"):
        array = doubles.astype(kind.dtype)
        np.multiply(array, 0, out=array, where=np.abs(array) < SMALLEST[kind.dtype.itemsize])
    return array


def _show(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
