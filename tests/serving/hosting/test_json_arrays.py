"""Long JSON arrays in pieces: the elements that a parser of the whole text gives, whatever the pieces cut through."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.hosting import json_arrays
from serving.hosting.json_arrays import LongArray, cut


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of seven bytes, so that every kind of cut happens in a short text."""
    monkeypatch.setattr(json_arrays, "PIECE_BYTES", 7)
    monkeypatch.setattr(json_arrays, "CUT_BYTES", 1)


def elements(array: LongArray) -> list[Any]:
    return [element for part in array.parts() for element in json.loads(part)]


leaves = st.one_of(st.integers(-9999, 9999), st.booleans(), st.text(max_size=9), st.just('\\"],[\\\\'))


@settings(deadline=None)
@given(data=st.data(), shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), indent=st.sampled_from([None, 1]))
def test_parts_hold_the_elements_in_order(data: st.DataObject, shape: list[int], indent: int | None) -> None:
    count = int(np.prod(shape))
    flat = data.draw(st.lists(leaves, min_size=count, max_size=count))
    nested = np.array(flat, object).reshape(shape).tolist()
    text = json.dumps({"inputs": [{"data": nested, "name": 'a "quoted" [name]'}], "id": "]}"}, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "PIECE_BYTES", 7)
        patch.setattr(json_arrays, "CUT_BYTES", 1)
        rest, arrays = cut(text, 3)
        ((key, array),) = arrays.items()
        assert json.loads(rest) == {"inputs": [{"data": key, "name": 'a "quoted" [name]'}], "id": "]}"}
        assert elements(array) == flat
        assert array.has_shape(shape)
        assert not array.has_shape([*shape, 2])


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize(
    "text", [b"[1,2,]", b"[1,,2]", b"[,1]", b"[[1,2],[3]]", b"[[1],2]", b"[[1],[2]]]", b"[]", b"[[],[]]"]
)
def test_what_is_no_list_of_two_is_never_taken_for_one(text: bytes) -> None:
    array = LongArray(memoryview(text))
    try:
        count = len(elements(array))
    except ValueError:
        return
    assert count != 2 or not array.has_shape([2])


@pytest.mark.usefixtures("tiny_pieces")
def test_other_depths_and_short_arrays_stay_in_the_text() -> None:
    text = b'{"a": [1,2,3], "inputs": [{"data": [1,2,3]}]}'
    assert [bytes(array.text) for array in cut(text, 3)[1].values()] == [b"[1,2,3]"]
    assert len(cut(text, 1)[1]) == 2
    assert cut(b'{"inputs": 1', 3) == (b'{"inputs": 1', {})


def test_no_piece_is_long() -> None:
    text = b"[" + b",".join([b"0.12345678"] * 500_000) + b"]"
    assert max(len(part) for part in LongArray(memoryview(text)).parts()) <= json_arrays.PIECE_BYTES + 32
