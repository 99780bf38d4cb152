"""Inputs of any rank: what a TensorFlow session computes is answered, what a kernel refuses is a 400 in its words."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

TF2 = "/v1/models/tf2:predict"
SHAPES = [(), (3,), (2, 1), (2, 3), (1, 2, 1), (1, 1, 1, 1, 1), (0,), (0, 1), (2, 0), (3, 0, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_of_any_rank_are_answered(embedded: Any, shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert embedded.post(TF2, {"inputs": x.tolist()}) == (200, {"outputs": (x * 0.5 + 2).tolist()})
    y = embedded.predict("tf2", x=x).outputs["y"]
    assert [dim.size for dim in y.tensor_shape.dim] == list(shape)
    assert list(y.float_val) == (x * 0.5 + 2).ravel().tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_strings_of_any_rank_are_answered(embedded: Any, shape: tuple[int, ...]) -> None:
    x = np.full(shape, b"a", object)
    body = {"signature_name": "upper", "inputs": np.full(shape, "a").tolist()}
    if x.size or len(shape) == 1:  # an empty list of lists has no elements that would show its shape
        assert embedded.post(TF2, body) == (200, {"outputs": np.full(shape, "A").tolist()})
    y = embedded.predict("tf2", "upper", x=x).outputs["y"]
    assert list(y.string_val) == [b"A"] * x.size


def test_the_documentation_s_own_example_is_answered(embedded: Any) -> None:
    assert embedded.post(TF2, {"instances": [1.0, 2.0, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})


@pytest.mark.parametrize("shape", [(), (2,), (1, 3), (0,)])
def test_a_kernel_s_refusal_is_a_400_that_names_its_node(embedded: Any, shape: tuple[int, ...]) -> None:
    body = {"signature_name": "product", "inputs": np.ones(shape).tolist()}
    status, answer = embedded.post(TF2, body)
    assert status == 400
    assert "{{node" in answer["error"]
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        embedded.predict("tf2", "product", x=np.ones(shape, np.float32))


@pytest.mark.parametrize("signature", ["depthwise", "conv3d"])
@pytest.mark.parametrize("shape", [(), (4,), (1, 25), (5, 5, 1), (1, 0), (2, 2, 2, 2, 2, 2)])
def test_a_convolution_refuses_other_ranks_and_the_process_lives(
    embedded: Any, signature: str, shape: tuple[int, ...]
) -> None:
    rank = {"depthwise": 4, "conv3d": 5}[signature]
    status, answer = embedded.post(TF2, {"signature_name": signature, "inputs": np.ones(shape).tolist()})
    text = f"convolution input must be {rank}-dimensional: [{','.join(map(str, shape))}]\n\t [["
    assert (status, answer["error"][: len(text)]) == (400, text)
    assert "rank_guard" not in answer["error"]
    assert embedded.process.poll() is None


def test_a_scalar_output_has_a_shape_without_dimensions(embedded: Any) -> None:
    y = embedded.predict("tf2", x=np.array(1, np.float32)).outputs["y"]
    assert y.HasField("tensor_shape")
    assert (y.dtype, len(y.tensor_shape.dim), list(y.float_val)) == (1, 0, [2.5])
