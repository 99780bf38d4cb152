"""Short names: only what tells the endpoints of one report apart, and never a long list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.report.names import Names, capped, capped_groups, ordered_protocols
from loadtest.table import Facets


@pytest.fixture
def names(report):
    return Names(report.endpoints)


@pytest.mark.parametrize(
    ("name", "short", "spoken"),
    [
        ("tflite/tensorflow-tflite/grpc", "tflite grpc", "tflite over gRPC"),
        ("onnxruntime/pytorch-onnx/rest", "onnxruntime pytorch rest", "onnxruntime over JSON (pytorch)"),
        ("torchserve/pytorch-torchscript/rest-binary", "torchserve rest-binary", "torchserve over binary REST"),
    ],
)
def test_a_name_has_the_parts_that_differ(names, name, short, spoken):
    assert names.short(name) == short
    assert names.spoken(name) == spoken


def test_short_names_are_unique(report, names):
    assert len({names.short(endpoint.name) for endpoint in report.endpoints}) == len(report.endpoints)


def test_artifacts_of_one_framework_and_format_keep_what_differs_of_their_names(report):
    first, second, *_ = (e for e in report.endpoints if e.server == "onnxruntime")
    small = replace(first, name="o/res-net-s/rest", artifact="res-net-s", framework="", format="onnx", protocol="rest")
    large = replace(second, name="o/res-net-l/rest", artifact="res-net-l", framework="", format="onnx", protocol="rest")
    assert Names((small, large)).short("o/res-net-s/rest") == "s"
    assert Names((small, replace(large, artifact="net"))).short("o/res-net-s/rest") == "res-net-s"


def test_formats_of_one_framework_are_told_apart_by_format(report):
    first, second, *_ = (e for e in report.endpoints if e.server == "onnxruntime")
    plain = replace(first, name="o/p-onnx/grpc", artifact="p-onnx", framework="pytorch", format="onnx", protocol="grpc")
    int8 = replace(second, name="o/p-int8/grpc", artifact="p-int8", framework="pytorch", format="int8", protocol="grpc")
    assert Names((plain, int8)).short("o/p-int8/grpc") == "int8"


def test_a_whole_server_is_called_by_its_name(report, names):
    whole = [endpoint.name for endpoint in report.endpoints if endpoint.server == "tflite"]
    groups = names.grouped([*whole, "tfserving/tensorflow-savedmodel/grpc"])
    assert list(groups) == ["tflite", "tfserving grpc"]
    assert capped_groups(groups, most=1) == "tflite and 1 other"


def test_a_product_of_servers_and_protocols_is_described(report, names):
    pair = [e.name for e in report.endpoints if e.server in ("tflite", "onnxruntime") and e.protocol != "rest"]
    assert names.described(pair) == "tflite and onnxruntime over binary REST or gRPC"
    assert names.described(pair[:-1]) == "tflite over binary REST and 4 others"


def test_lists_are_capped():
    assert capped(["a"]) == "a"
    assert capped(["a", "b"]) == "a and b"
    assert capped([*"abcdefgh"]) == "a, b and 6 others"


def test_protocols_come_in_one_order_and_unknown_ones_last():
    assert ordered_protocols(["zmq", "grpc", "rest", "amqp"]) == ["rest", "grpc", "amqp", "zmq"]


def test_facets_are_what_the_page_filters_by(names):
    facets = names.facets("tfserving/tensorflow-savedmodel/grpc")
    assert facets == Facets("tfserving", "savedmodel", "grpc", "tensorflow")
