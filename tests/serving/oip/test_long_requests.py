"""Long requests and answers: read and written off the event loop, in pieces, with the same result as short ones."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from contract import TensorSpec
from serving import protos
from serving.hosting.batcher import Outputs
from serving.hosting.errors import RequestError
from serving.hosting.signature import Signature
from serving.oip import grpc_tensors, json_data, json_response
from serving.oip.grpc_tensors import parse, read_inputs
from serving.oip.json_request import Wants, read_infer
from serving.oip.json_response import encode_answer
from serving.oip.metadata import LONG_BYTES

Request = protos.message("inference.ModelInferRequest")
COUNT = 40_000
"""Of elements: more than LONG_BYTES in every form but BOOL's."""
NUMERIC = ("UINT8", "INT16", "UINT32", "INT64", "UINT64", "FP32", "FP64")


def values(datatype: str) -> np.ndarray:
    random = np.random.default_rng(0)
    spec = TensorSpec("x", datatype, ())
    if datatype == "BYTES":
        texts = np.array([f'é"]}},\\{n}'.encode() for n in range(COUNT)], np.object_)
        return texts.reshape(4, COUNT // 4)
    if datatype == "BOOL":
        return random.random((4, COUNT // 4)) > 0.5
    if spec.dtype.kind == "f":
        return random.normal(size=(4, COUNT // 4)).astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    return random.integers(limits.min, limits.max, (4, COUNT // 4), spec.dtype, endpoint=True)


def signature(datatype: str) -> Signature:
    specs = [TensorSpec("x", datatype, (-1, -1))]
    return Signature(specs, specs)


def body(array: np.ndarray, datatype: str, nested: bool = False, shape: Any = None) -> bytes:
    listed = array.tolist() if nested else array.ravel().tolist()
    if datatype == "BYTES":
        decoded = [element.decode() for element in array.ravel()]
        listed = np.array(decoded, np.object_).reshape(array.shape).tolist() if nested else decoded
    tensor = {"name": "x", "shape": shape or list(array.shape), "datatype": datatype, "data": listed}
    text = orjson.dumps({"inputs": [tensor], "id": "a"})
    assert len(text) >= LONG_BYTES
    return text


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("datatype", [*NUMERIC, "BOOL", "BYTES"])
def test_long_json_is_read_as_a_short_one(datatype: str, nested: bool) -> None:
    array = values(datatype)
    request = read_infer(body(array, datatype, nested), None, signature(datatype))
    np.testing.assert_array_equal(request.inputs["x"], array)
    assert request.inputs["x"].dtype == array.dtype
    assert request.wants.id == "a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b'"data":[', b'"data":[1,'), "needs 40000 elements, flat or nested, got 40001"),
        (lambda text: text.replace(b"[", b"[x,", 3), "the request is not JSON"),
        (lambda text: text[:-20], "the request is not JSON"),
        (lambda text: text.replace(b'"data":[', b'"data":["7",'), "must be a number that FP32 holds"),
        (lambda text: text.replace(b'"data":[', b'"data":[true,'), "must be a number that FP32 holds"),
        (lambda text: text.replace(b'"data":[', b'"data":[[1],'), "flat or nested, got 40001"),
        (lambda text: text.replace(b'"data":[', b'"data":[1e39,'), "must be a number that FP32 holds"),
        (lambda text: text.replace(b'"id":"a"', b'"id":"' + b"a" * 2**22 + b'"'), "bytes beside its data"),
    ],
)
def test_mistake_in_a_long_json_is_named(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(RequestError, match=message.replace("[", r"\[")):
        read_infer(change(body(values("FP32"), "FP32", shape=[4, COUNT // 4])), None, signature("FP32"))


def test_no_parser_gets_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    real = json_data.simdjson.Parser

    class Recording:
        def __init__(self) -> None:
            self._parser = real()

        def parse(self, text: bytes) -> Any:
            lengths.append(len(text))
            return self._parser.parse(text)

    monkeypatch.setattr(json_data.simdjson, "Parser", Recording)
    monkeypatch.setattr(json_data, "_PARSERS", json_data._Parsers())
    array = np.random.default_rng(0).normal(size=(4, 100_000)).astype(np.float32)
    read_infer(body(array, "FP32"), None, signature("FP32"))
    assert len(lengths) > 4
    assert max(lengths) <= 2**20 + 64


@pytest.mark.parametrize("form", ["raw", "typed"])
@pytest.mark.parametrize("datatype", [*NUMERIC, "BOOL", "BYTES"])
def test_long_grpc_message_is_read_as_a_short_one(datatype: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.hosting.tensors import to_bytes

    array = values(datatype)
    request = Request(model_name="m", id="a")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    if form == "raw":
        request.raw_input_contents.append(to_bytes(array, datatype))
    else:
        getattr(tensor.contents, grpc_tensors.CONTENTS[datatype]).extend(array.ravel().tolist())
    data = request.SerializeToString()
    for walk_bytes in (1, len(data) + 1):
        monkeypatch.setattr(grpc_tensors, "WALK_BYTES", walk_bytes)
        parsed = parse(data)
        inputs = read_inputs(parsed, signature(datatype))
        assert (parsed.message.id, inputs["x"].dtype) == ("a", array.dtype)
        np.testing.assert_array_equal(inputs["x"], array)


def test_long_raw_and_typed_floats_are_views_of_the_message() -> None:
    array = values("FP32")
    for raw in (False, True):
        request = Request(model_name="m")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=array.shape)
        if raw:
            request.raw_input_contents.append(array.tobytes())
        else:
            tensor.contents.fp32_contents.extend(array.ravel().tolist())
        data = request.SerializeToString()
        assert np.shares_memory(read_inputs(parse(data), signature("FP32"))["x"], np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.raw_input_contents.append(b"x"), "has contents though raw_input_contents is used"),
        (lambda r: r.inputs[0].contents.fp32_contents.append(1), "needs 40000 fp32_contents, got 40001"),
        (lambda r: r.inputs.add().CopyFrom(r.inputs[0]), "input 'x' is given twice"),
        (lambda r: setattr(r.inputs[0], "datatype", "INT8"), "has datatype 'INT8'"),
    ],
)
def test_mistake_in_a_long_message_is_named(change: Callable[[Any], Any], message: str) -> None:
    request = Request(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[4, COUNT // 4]).contents.fp32_contents.extend([0.5] * COUNT)
    change(request)
    with pytest.raises(RequestError, match=message):
        read_inputs(parse(request.SerializeToString()), signature("FP32"))


def test_damaged_long_message_is_refused() -> None:
    request = Request(model_name="m", raw_input_contents=[b"x" * 2**17])
    with pytest.raises(RequestError, match="the request is not a ModelInferRequest"):
        parse(request.SerializeToString()[:-1])


def test_long_list_is_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    array = values("FP32")
    whole, _ = encode_answer({"id": "a"}, {"x": array}, Wants(), signature("FP32"))
    monkeypatch.setattr(json_response, "PIECE_ELEMENTS", 1000)
    pieces, _ = encode_answer({"id": "a"}, {"x": array}, Wants(), signature("FP32"))
    assert pieces == whole
    np.testing.assert_array_equal(np.float32(json.loads(pieces)["outputs"][0]["data"]), array.ravel())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("count", [4, COUNT])
def test_only_what_is_long_leaves_the_loop(protocol: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.oip import grpc as oip_grpc
    from serving.oip import rest as oip_rest
    from serving.transport.grpc.call import Call
    from serving.transport.http1.messages import Request as HttpRequest

    array = values("FP32").ravel()[:count].reshape(4, -1)
    places: list[bool] = []

    class Served:
        name, version, signature, metrics = "m", "1", signature("FP32"), _NoMetrics()

        def in_use(self) -> Any:
            from contextlib import nullcontext

            return nullcontext()

        class batcher:  # noqa: N801 - an attribute
            @staticmethod
            def submit(inputs: Any, deadline_s: Any, then: Any) -> Any:
                np.testing.assert_array_equal(inputs["x"], array)
                made = then(Outputs(inputs, 0, 0, 4))
                if isinstance(made, asyncio.Future):
                    return made
                done = asyncio.get_running_loop().create_future()
                done.set_result(made)
                return done

    class Models:
        def find(self, name: str, version: Any) -> Any:
            return Served()

    async def ask() -> Any:
        if protocol == "grpc":
            request = Request(model_name="m", raw_input_contents=[array.tobytes()])
            request.inputs.add(name="x", datatype="FP32", shape=array.shape)
            api = oip_grpc.GrpcApi(Models(), "", "")  # type: ignore[arg-type]
            return await api.infer(request.SerializeToString(), Call("", {}, 0.0, None))
        api = oip_rest.RestApi(Models(), None, "", "", 2**26)  # type: ignore[arg-type,assignment]
        tensor = {"name": "x", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
        content = orjson.dumps({"inputs": [tensor]})
        return await api(HttpRequest("POST", "/v2/models/m/infer", {}, content, 0.0))  # type: ignore[operator]

    module, name = (oip_grpc, "read_inputs") if protocol == "grpc" else (oip_rest, "read_infer")
    for target, function in ((module, name), (module, "message_with" if protocol == "grpc" else "encode_answer")):
        real = getattr(target, function)

        def noting(*arguments: Any, real: Any = real) -> Any:
            places.append(threading.current_thread() is threading.main_thread())
            return real(*arguments)

        monkeypatch.setattr(target, function, noting)
    asyncio.run(ask())
    assert places == [count == 4] * 2


class _NoMetrics:
    def answered(self, seconds: float) -> None:
        """Nothing is counted."""
