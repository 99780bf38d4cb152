"""What only gRPC has: typed contents, raw contents, health, deadlines, messages that are none."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from serving import protos

SERVICE = "/inference.GRPCInferenceService/"
Request = protos.message("inference.ModelInferRequest")
Response = protos.message("inference.ModelInferResponse")
X = np.float32([[1, 2, 3, 4]])


@pytest.fixture(scope="module")
def channel(oip: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{oip.grpc}") as channel:
        yield channel


def call(channel: Any, method: str, message: Any, **options: Any) -> bytes:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    answer: bytes = channel.unary_unary(method)(data, timeout=10, **options)
    return answer


def request(**fields: Any) -> Any:
    message = Request(model_name="double", **fields)
    message.inputs.add(name="x_FP32", datatype="FP32", shape=[1, 4])
    return message


def refused(channel: Any, message: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, SERVICE + "ModelInfer", message)
    return caught.value.code().name, caught.value.details()


def test_typed_contents_are_read(channel: Any) -> None:
    message = request(id="7")
    message.inputs[0].contents.fp32_contents.extend(X.ravel())
    answer = Response.FromString(call(channel, SERVICE + "ModelInfer", message))
    assert (answer.id, answer.model_version, list(answer.outputs[0].shape)) == ("7", "1", [1, 4])
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * X.ravel())


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("fp32_contents", [1, 2, 3], "needs 4 fp32_contents, got 3"),
        ("int_contents", [1, 2, 3, 4], "needs 4 fp32_contents, got 0, and int_contents is set"),
    ],
)
def test_wrong_contents_are_refused(channel: Any, field: str, values: list[int], message: str) -> None:
    wrong = request()
    getattr(wrong.inputs[0].contents, field).extend(values)
    code, details = refused(channel, wrong)
    assert code == "INVALID_ARGUMENT"
    assert message in details


def test_raw_and_typed_together_are_refused(channel: Any) -> None:
    both = request(raw_input_contents=[X.tobytes()])
    both.inputs[0].contents.fp32_contents.extend(X.ravel())
    assert "only one may be" in refused(channel, both)[1]


def test_number_of_raw_contents_is_checked(channel: Any) -> None:
    assert "2 elements: 1 are expected" in refused(channel, request(raw_input_contents=[X.tobytes()] * 2))[1]
    assert "has 12 bytes of data: FP32 [1,4] needs 16" in refused(channel, request(raw_input_contents=[b"x" * 12]))[1]


def test_bytes_that_are_no_message_are_refused(channel: Any) -> None:
    assert refused(channel, b"\xff\xff\xff") == ("INVALID_ARGUMENT", "the request is not a ModelInferRequest")


def test_long_names_do_not_break_the_status(channel: Any) -> None:
    code, details = refused(channel, Request(model_name="x" * 100_000))
    assert code == "NOT_FOUND"
    assert len(details) < 1100


def test_timing_comes_as_parameters_and_as_metadata(channel: Any) -> None:
    message = request(raw_input_contents=[X.tobytes()])
    message.parameters["server_timing"].bool_param = True
    method = channel.unary_unary(SERVICE + "ModelInfer")
    answer, done = method.with_call(message.SerializeToString(), metadata=(("x-server-timing", "1"),), timeout=10)
    assert Response.FromString(answer).parameters["batch_rows"].double_param == 1
    assert any(key == "server-timing" and "compute;dur=" in value for key, value in done.trailing_metadata())


def test_remembered_requests_are_answered_from_their_own_numbers(channel: Any) -> None:
    for factor in (1, 2, 3):
        message = request(raw_input_contents=[(factor * X).tobytes()])
        answer = Response.FromString(call(channel, SERVICE + "ModelInfer", message))
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * factor * X.ravel())
        assert (answer.model_name, answer.outputs[0].name) == ("double", "y_FP32")
        assert list(answer.outputs[0].shape) == [1, 4]


def test_memory_is_not_fooled_by_an_unknown_field_at_the_end(channel: Any) -> None:
    decoy = b"\x7a\x12\x3a\x10"  # field 15, unknown, holding what looks like raw_input_contents
    for factor in (1, 2):
        raw = request(raw_input_contents=[X.tobytes()]).SerializeToString()
        answer = Response.FromString(call(channel, SERVICE + "ModelInfer", raw + decoy + (factor * X).tobytes()))
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * X.ravel())


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_health_is_serving(channel: Any, service: str) -> None:
    answer = call(channel, "/grpc.health.v1.Health/Check", StringValue(value=service))
    assert Int32Value.FromString(answer).value == 1
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(StringValue(value=service).SerializeToString())
    assert Int32Value.FromString(next(iter(watch))).value == 1
    watch.cancel()


def test_health_of_an_unknown_service_is_not_found(channel: Any) -> None:
    with pytest.raises(grpc.RpcError, match="unknown service 'x'"):
        call(channel, "/grpc.health.v1.Health/Check", StringValue(value="x"))
