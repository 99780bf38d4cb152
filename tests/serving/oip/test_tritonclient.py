"""tritonclient, unmodified, HTTP and gRPC, sync and asyncio, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from contract import DATATYPES

MODULES = {"http": triton_http, "grpc": triton_grpc}
ASYNC = {"http": (triton_http, triton_http_aio), "grpc": (triton_grpc, triton_grpc_aio)}
ARRAYS = {
    name: np.array([[b"ab", b"\xc3\xa9"]], np.object_) if name == "BYTES" else np.array([[1, 0]], dtype)
    for name, dtype in DATATYPES.items()
}


@pytest.fixture(params=MODULES, scope="module")
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(protocol: str, oip: Any) -> Any:
    client = MODULES[protocol].InferenceServerClient(f"127.0.0.1:{oip.rest if protocol == 'http' else oip.grpc}")
    yield client
    client.close()


def tensor(module: Any, name: str, array: np.ndarray, datatype: str, **options: Any) -> Any:
    inputs = module.InferInput(name, array.shape, datatype)
    inputs.set_data_from_numpy(array, **options)
    return inputs


def every_input(module: Any, **options: Any) -> list[Any]:
    return [tensor(module, f"x_{name}", array, name, **options) for name, array in ARRAYS.items()]


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("nope")
    assert "binary_tensor_data" in str(client.get_server_metadata())
    assert "x_FP32" in str(client.get_model_metadata("double", "1"))


def test_scalar_of_every_datatype_comes_back(client: Any, protocol: str) -> None:
    scalars = {name: array[0, :1].reshape(()) for name, array in ARRAYS.items()}
    module = MODULES[protocol]
    answer = client.infer("scalars", [tensor(module, f"x_{name}", array, name) for name, array in scalars.items()])
    for name, array in scalars.items():
        got = answer.as_numpy(f"y_{name}")
        assert got.shape == ()
        assert got == array


def test_dimension_that_is_empty_in_the_model_is_no_mistake(client: Any, protocol: str) -> None:
    empty = tensor(MODULES[protocol], "x_FP32", np.zeros((2, 0), np.float32), "FP32")
    assert client.infer("nothing", [empty]).as_numpy("y_FP32").shape == (2, 0)


def test_every_datatype_comes_back_binary(client: Any, protocol: str) -> None:
    answer = client.infer("every", every_input(MODULES[protocol]))
    for name, array in ARRAYS.items():
        got = answer.as_numpy(f"y_{name}")
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)


def test_every_datatype_comes_back_as_json(oip: Any) -> None:
    wanted = [name for name in ARRAYS if name != "FP16"]  # which tritonclient refuses to write as JSON
    with triton_http.InferenceServerClient(f"127.0.0.1:{oip.rest}") as client:
        inputs = [tensor(triton_http, f"x_{n}", ARRAYS[n], n, binary_data=n == "FP16") for n in ARRAYS]
        outputs = [triton_http.InferRequestedOutput(f"y_{n}", binary_data=False) for n in wanted]
        answer = client.infer("every", inputs, outputs=outputs)
        for name in wanted:
            expected = ARRAYS[name]
            got = answer.as_numpy(f"y_{name}")
            assert [str(g.decode() if isinstance(g, bytes) else g) for g in got.ravel()] == [
                str(e.decode() if isinstance(e, bytes) else e) for e in expected.ravel()
            ]


def test_id_comes_back_and_outputs_are_selected(client: Any, protocol: str) -> None:
    module = MODULES[protocol]
    x = np.float32([[1, 2, 3, 4]])
    inputs = [tensor(module, "left", x, "FP32"), tensor(module, "right", 2 * x, "FP32")]
    answer = client.infer("add", inputs, request_id="42", outputs=[module.InferRequestedOutput("difference")])
    np.testing.assert_array_equal(answer.as_numpy("difference"), -x)
    assert answer.as_numpy("sum") is None
    response = answer.get_response()
    assert (response["id"] if protocol == "http" else response.id) == "42"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_request_is_answered(oip: Any, algorithm: str) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{oip.rest}") as client:
        x = np.ones((64, 4), np.float32)
        inputs = [tensor(triton_http, "x_FP32", x, "FP32")]
        answer = client.infer("double", inputs, request_compression_algorithm=algorithm)
        np.testing.assert_array_equal(answer.as_numpy("y_FP32"), 2 * x)


def test_concurrent_requests_get_their_own_answers(client: Any, protocol: str) -> None:
    module = MODULES[protocol]
    inputs = [np.full((1 + i % 3, 4), i, np.float32) for i in range(60)]
    if protocol == "http":
        pending = [client.async_infer("double", [tensor(module, "x_FP32", x, "FP32")]) for x in inputs]
        answers = [request.get_result() for request in pending]
    else:
        answers = [client.infer("double", [tensor(module, "x_FP32", x, "FP32")]) for x in inputs]
    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("y_FP32"), 2 * x)


@pytest.mark.parametrize("protocol", ASYNC)
def test_asyncio_client_is_answered(oip: Any, protocol: str) -> None:
    module, aio = ASYNC[protocol]

    async def ask() -> list[Any]:
        async with aio.InferenceServerClient(f"127.0.0.1:{oip.rest if protocol == 'http' else oip.grpc}") as client:
            assert await client.is_server_ready()
            requests = [[tensor(module, "x_FP32", np.full((1, 4), i, np.float32), "FP32")] for i in range(40)]
            return list(await asyncio.gather(*(client.infer("double", inputs) for inputs in requests)))

    for number, answer in enumerate(asyncio.run(ask())):
        np.testing.assert_array_equal(answer.as_numpy("y_FP32"), np.full((1, 4), 2 * number, np.float32))


def test_repository_can_be_listed_and_changed(protocol: str, start_server: Any, own_repository: Any) -> None:
    server = start_server(own_repository)
    module = MODULES[protocol]
    with module.InferenceServerClient(f"127.0.0.1:{server.rest if protocol == 'http' else server.grpc}") as client:
        assert "READY" in str(client.get_model_repository_index())
        client.unload_model("double")
        assert not client.is_model_ready("double")
        with pytest.raises(InferenceServerException, match="unknown model 'double'"):
            client.infer("double", [tensor(module, "x_FP32", np.ones((1, 4), np.float32), "FP32")])
        client.load_model("double")
        assert client.is_model_ready("double")
        with pytest.raises(InferenceServerException, match="unknown model 'nope'"):
            client.load_model("nope")
    server.running.stop()


def wrong_inputs(module: Any) -> dict[str, tuple[str, list[Any], str, str]]:
    x = np.ones((1, 4), np.float32)
    return {
        "name": ("double", [tensor(module, "z", x, "FP32")], "400", r"unexpected input 'z'.*x_FP32 \(FP32 \[-1,4\]\)"),
        "datatype": ("double", [tensor(module, "x_FP32", x.astype(np.float64), "FP64")], "400", "expects FP32"),
        "rank": ("double", [tensor(module, "x_FP32", x[0], "FP32")], "400", r"\[4\]: the model expects \[-1,4\]"),
        "shape": ("double", [tensor(module, "x_FP32", x[:, :3], "FP32")], "400", r"\[1,3\]: the model expects"),
        "missing": ("add", [tensor(module, "left", x, "FP32")], "400", r"missing input right \(FP32 \[-1,4\]\)"),
        "twice": ("double", [tensor(module, "x_FP32", x, "FP32")] * 2, "400", "given twice"),
        "rows": (
            "add",
            [tensor(module, "left", x, "FP32"), tensor(module, "right", np.ones((2, 4), np.float32), "FP32")],
            "400",
            "differ in their first dimension",
        ),
        "model": ("nope", [tensor(module, "x_FP32", x, "FP32")], "404", "unknown model 'nope'"),
    }


@pytest.mark.parametrize("mistake", wrong_inputs(triton_http))
def test_mistake_is_refused_with_what_was_expected(client: Any, protocol: str, mistake: str) -> None:
    model, inputs, status, message = wrong_inputs(MODULES[protocol])[mistake]
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(model, inputs)
    codes = {"400": "StatusCode.INVALID_ARGUMENT", "404": "StatusCode.NOT_FOUND"}
    assert caught.value.status() == (status if protocol == "http" else codes[status])


def test_unknown_output_is_refused_with_the_list(client: Any, protocol: str) -> None:
    module = MODULES[protocol]
    inputs = [tensor(module, "x_FP32", np.ones((1, 4), np.float32), "FP32")]
    with pytest.raises(InferenceServerException, match=r"unknown output 'z': the model gives y_FP32 \(FP32"):
        client.infer("double", inputs, outputs=[module.InferRequestedOutput("z")])


def test_unknown_version_is_refused_with_the_list(client: Any, protocol: str) -> None:
    inputs = [tensor(MODULES[protocol], "x_FP32", np.ones((1, 4), np.float32), "FP32")]
    with pytest.raises(InferenceServerException, match="no version '9': versions 1 are ready"):
        client.infer("double", inputs, "9")
