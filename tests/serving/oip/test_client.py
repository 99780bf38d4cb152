"""The client's side: what is encoded is what a server reads, and what is no answer is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from contract import DATATYPES, Manifest, TensorSpec
from serving.hosting.signature import Signature
from serving.oip import client as oip_client
from serving.oip.json_request import read_infer

SPECS = tuple(TensorSpec(f"x_{name}", name, (-1, 2)) for name in DATATYPES if name != "FP16")
MANIFEST = Manifest("every", "pytorch", "onnx", "1", SPECS, SPECS, {}, 0)
INPUTS = {
    spec.name: np.array([[b"ab", b"\xc3\xa9"]], np.object_)
    if spec.datatype == "BYTES"
    else np.array([[1, 0]], spec.dtype)
    for spec in SPECS
}


@pytest.mark.parametrize("protocol", ["rest", "rest-binary"])
def test_server_reads_what_the_client_encodes(protocol: str) -> None:
    call = oip_client.encode(protocol, "every", MANIFEST, INPUTS)
    length = call.headers.get(oip_client.JSON_LENGTH)
    request = read_infer(call.body, length, Signature(SPECS, SPECS))
    assert request.wants.binary_output is (protocol == "rest-binary")
    for name, array in INPUTS.items():
        assert request.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(request.inputs[name], array)


def test_float32_text_is_the_shortest_that_reads_back() -> None:
    spec = (TensorSpec("x", "FP32", (-1,)),)
    manifest = Manifest("m", "pytorch", "onnx", "1", spec, spec, {}, 0)
    call = oip_client.encode("rest", "m", manifest, {"x": np.array([0.1, 1 / 3], np.float32)})
    assert b'"data":[0.1,0.33333334]' in call.body


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"outputs":[1]}', b'{"outputs":[{"name":"y"}]}'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"Open Inference Protocol|EOF|empty|Input|unexpected|zero-length"):
        oip_client.decode("rest", body, {})
    with pytest.raises(ValueError, match="not a ModelInferResponse"):
        oip_client.decode("grpc", b"\xff" + body, {})


def test_json_and_binary_outputs_are_decoded_together() -> None:
    head = json.dumps(
        {
            "outputs": [
                {"name": "a", "datatype": "INT8", "shape": [2], "data": [1, 2]},
                {"name": "b", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
            ]
        }
    ).encode()
    outputs = oip_client.decode("rest", head + b"\x02\0\0\0hi", {oip_client.JSON_LENGTH.lower(): str(len(head))})
    assert outputs["a"].dtype == np.int8
    assert outputs["b"].tolist() == [b"hi"]
