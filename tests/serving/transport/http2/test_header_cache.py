"""Header blocks that come again are not decoded again, and mean what they would mean to a decoder without memory."""

from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder

from serving.transport.http2.frames import literal_headers
from serving.transport.http2.header_cache import KNOWN_BLOCKS, PATIENCE, HeaderDecoder, HPACKError

FIELDS = [(":method", "POST"), (":path", "/t.T/Echo"), ("te", "trailers"), ("x", "v" * 300)]


class Made:
    """Counts how often a block was decoded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        self.count += 1
        return fields


def test_repeated_block_is_decoded_once() -> None:
    make = Made()
    decoder = HeaderDecoder(make)
    block = literal_headers(FIELDS)
    assert [decoder.decode(block) for _ in range(5)] == [FIELDS] * 5
    assert make.count == 1


def test_changing_blocks_are_bounded_in_number() -> None:
    decoder = HeaderDecoder(Made())
    for number in range(3 * KNOWN_BLOCKS):
        decoder.decode(literal_headers([("traceparent", f"00-{number}")]))
        assert len(decoder._known) <= KNOWN_BLOCKS


def test_cache_is_at_work_again_once_the_headers_stop_changing() -> None:
    make = Made()
    decoder, block = HeaderDecoder(make), literal_headers(FIELDS)
    for number in range(10 * PATIENCE):
        decoder.decode(literal_headers([("traceparent", f"00-{number}")]))
        assert len(decoder._known) <= PATIENCE
    for _ in range(100 * PATIENCE):
        assert decoder.decode(block) == FIELDS
    assert make.count <= 12 * PATIENCE


def test_indexed_block_means_something_else_after_the_table_has_changed() -> None:
    decoder, first, second = HeaderDecoder(Made()), Encoder(), Encoder()
    first.encode([("a", "1")])
    entered = Encoder().encode([("a", "1")])
    indexed = first.encode([("a", "1")])  # one byte: the newest entry
    decoder.decode(entered)
    assert decoder.decode(indexed) == [("a", "1")]
    decoder.decode(second.encode([("b", "2")]))
    assert decoder.decode(indexed) == [("b", "2")]


@pytest.mark.parametrize("seed", range(20))
def test_decodes_as_a_decoder_without_memory(seed: int) -> None:
    chooser, encoder, plain, decoder = random.Random(seed), Encoder(), Decoder(), HeaderDecoder(Made())
    for _ in range(200):
        if chooser.random() < 0.05:
            encoder.header_table_size = chooser.choice([0, 100, 4096])
        fields = [(f"n{chooser.randrange(9)}", "v" * chooser.choice([1, 200])) for _ in range(chooser.randrange(6))]
        block = encoder.encode(fields, huffman=chooser.random() < 0.5)
        assert decoder.decode(block) == [(str(name), str(value)) for name, value in plain.decode(block)]


@pytest.mark.parametrize(
    ("block", "changes"),
    [
        (b"", False),
        (b"\x83", False),
        (literal_headers(FIELDS), False),
        (b"\x0f\x10\x01v", False),
        (b"\x40\x01a\x01b", True),
        (b"\x3f\xe1\x1f", True),
        (literal_headers(FIELDS) + b"\x40\x01a\x01b", True),
    ],
    ids=["empty", "indexed", "literals", "name indexed", "entered", "resized", "entered last"],
)
def test_change_of_the_table_is_seen_in_the_block(block: bytes, changes: bool) -> None:
    decoder = HeaderDecoder(Made())
    decoder.decode(block)
    assert (block not in decoder._known) is changes


def test_unreadable_block_is_refused() -> None:
    with pytest.raises(HPACKError):
        HeaderDecoder(Made()).decode(b"\xff" * 9)
