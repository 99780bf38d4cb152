"""Classify and regress: JSON to `tensorflow.Example`s, examples to a tensor, outputs to results.

Sources of the behaviour: util/json_tensor.cc, servables/tensorflow/{classifier,regressor,util}.cc of
github.com/tensorflow/serving.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.servers.tfserving.json_codec.predict import signature_name
from serving.servers.tfserving.json_codec.reader import read_object
from serving.servers.tfserving.json_codec.value import decode_base64, dump, is_base64, to_bytes, type_name
from serving.servers.tfserving.model.signatures import KIND_OF, Signature
from serving.servers.tfserving.status import invalid

MARK = "goo.gle/debugproto  \n"
"""How protobuf's own debug texts begin."""
_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: bytes | memoryview) -> tuple[str, np.ndarray]:
    """The signature's name and the examples of a JSON request, as a tensor of strings."""
    from tensorflow_serving.apis import input_pb2

    document = read_object(body)
    name = signature_name(document)
    message = input_pb2.Input()
    if "context" in document:
        _fill_example(document["context"], message.example_list_with_context.context)
    if "examples" not in document:
        expected = "When method is classify, key 'examples' is expected and was not found"
        raise invalid(f"JSON Value: {dump(document)} {expected}")
    rows = document["examples"]
    if type(rows) is not list:
        raise invalid(f"JSON Value: {dump(document)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {dump(document)} 'examples' value is an empty array")
    examples = message.example_list_with_context if "context" in document else message.example_list
    for row in rows:
        _fill_example(row, examples.examples.add())
    return name, serialized_examples(message)


def serialized_examples(message: Any) -> np.ndarray:
    """An `Input` as the tensor of strings that a graph parses; a context is put before each example."""
    kind = message.WhichOneof("kind")
    examples = getattr(message, kind).examples if kind else ()
    if not examples:
        raise invalid("Input is empty.")
    context = message.example_list_with_context.context.SerializeToString() if kind != "example_list" else b""
    array = np.empty(len(examples), object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def classify_outputs(signature: Signature) -> list[str]:
    """The outputs that hold classes and scores; raises Status where the signature can't classify."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {MARK}{signature.proto}")
    outputs: list[str] = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not outputs:
        wanted = 'Expected classification signature outputs to contain at least one of "classes" or "scores".'
        raise invalid(f"{wanted} Signature was: {MARK}{signature.proto}")
    return outputs


def regress_outputs(signature: Signature) -> list[str]:
    """The output that holds the values; raises Status where the signature can't regress."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {MARK}{signature.proto}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {MARK}{signature.proto}")
    return ["outputs"]


def check_classes(outputs: dict[str, np.ndarray], examples: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Classes and scores as [examples, classes]; raises Status where they aren't."""
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, array, wanted in (("classes", classes, "string"), ("scores", scores, "float")):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shown(array.shape)}")
        if array.dtype != (object if wanted == "string" else np.float32):
            raise invalid(f"Expected {name} Tensor of DT_{wanted.upper()}. Got: {data_type(array)}")
        if len(array) != examples:
            raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        sizes = f"{classes.shape[1]} vs. {scores.shape[1]}"
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {sizes}")
    return classes, scores


def check_values(outputs: dict[str, np.ndarray], examples: int) -> np.ndarray:
    """The regressed values, one per example; raises Status where they aren't."""
    array = outputs["outputs"]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        expected = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]"
        raise invalid(f"{expected} but got {shown(array.shape)}")
    if len(array) != examples:
        raise invalid(f"Input batch size did not match output batch size: {examples} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {data_type(array)}")
    return array.ravel()


def shown(shape: tuple[int, ...]) -> str:
    """A shape as `TensorShape::DebugString` writes it."""
    return f"[{','.join(map(str, shape))}]"


def data_type(array: np.ndarray) -> str:
    """The name of the array's DataType."""
    kind = KIND_OF.get(array.dtype)
    return f"DT_{kind.name.upper()}" if kind else str(array.dtype)


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for key, content in value.items():
        name = to_bytes(key).decode("utf-8", "replace")  # as a message can hold it
        feature = type(example.features.feature[name])()
        for element in content if type(content) is list else (content,):
            _add_value(element, name, feature)
        example.features.feature[name].CopyFrom(feature)


def _add_value(value: Any, name: str, feature: Any) -> None:
    unexpected = f"Feature: {name} has element with unexpected JSON type: {type_name(value)}"
    if value is None or type(value) is list or (isinstance(value, dict) and not is_base64(value)):
        raise invalid(unexpected)
    if isinstance(value, bool):
        field, value = "int64_list", int(value)
    elif isinstance(value, (str, dict)):
        field = "bytes_list"
    else:
        field = "float_list" if isinstance(value, float) else "int64_list"
    kind = feature.WhichOneof("kind")
    if kind not in (None, field):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[kind]}")
    if field == "bytes_list":
        value = decode_base64(value) if isinstance(value, dict) else to_bytes(value)
    if field == "int64_list" and value >= 2**63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if field == "float_list":
        with np.errstate(over="ignore", under="ignore"):
            value = float(np.float32(value))
    getattr(feature, field).value.append(value)
