"""Inflating: whole streams within a limit, in blocks that hold the interpreter's lock for no long time."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from serving.transport import compression
from serving.transport.compression import GZIP, CompressionError, InflatedTooLargeError, inflate

RANDOM = random.Random(7).randbytes(300_000)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("content", [b"", b"abc", bytes(5_000_000), RANDOM], ids=["empty", "short", "zeros", "random"])
def test_inflate_gives_the_content(compress: object, content: bytes) -> None:
    assert inflate(compress(content), len(content)) == content  # type: ignore[operator]


@pytest.mark.parametrize(
    ("compressed", "reason"),
    [
        (b"", "its end is missing"),
        (gzip.compress(b"abc")[:-1], "its end is missing"),
        (gzip.compress(RANDOM)[:200_000], "its end is missing"),
        (gzip.compress(b"abc") * 2, "more follows behind its end"),
        (gzip.compress(b"abc") + bytes(100_000), "more follows behind its end"),
        (b"no gzip", "incorrect header check"),
    ],
)
def test_inflate_refuses_what_is_no_whole_stream(compressed: bytes, reason: str) -> None:
    with pytest.raises(CompressionError, match=reason):
        inflate(compressed, 10**6)


def test_inflate_refuses_zlib_where_gzip_is_wanted() -> None:
    with pytest.raises(CompressionError, match="incorrect header check"):
        inflate(zlib.compress(b"abc"), 10, GZIP)


@pytest.mark.parametrize("limit", [0, 999_999])
def test_inflate_stops_at_the_limit(limit: int) -> None:
    with pytest.raises(InflatedTooLargeError, match=f"more than {limit} bytes when inflated"):
        inflate(gzip.compress(bytes(1_000_000)), limit)


def test_bomb_is_inflated_by_no_more_than_a_block_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    inner = compression._blocks
    monkeypatch.setattr(
        compression, "_blocks", lambda *arguments: (blocks.append(len(b)) or b for b in inner(*arguments))
    )
    with pytest.raises(InflatedTooLargeError):
        inflate(gzip.compress(bytes(50_000_000)), 2_000_000)
    assert max(blocks) <= compression.BLOCK_BYTES
    assert sum(blocks) <= 2_000_000 + compression.BLOCK_BYTES
