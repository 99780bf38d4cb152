"""Inflates what clients compressed: the bodies of HTTP and the messages of gRPC."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

GZIP, ZLIB, EITHER = 31, 15, 47
"""Values of zlib's `wbits`: which of the two formats is taken."""
PIECE_BYTES = 1 << 16
"""Compressed bytes that are inflated at a time."""
BLOCK_BYTES = 1 << 20
"""The most that comes of them at a time: the interpreter's lock is held for no more than such a block is copied."""


class CompressionError(ValueError):
    """The bytes are not one whole compressed stream."""


class InflatedTooLargeError(ValueError):
    """The content is larger than the limit."""


def inflate(compressed: bytes, limit: int, wbits: int = EITHER) -> bytes:
    """The content of one whole gzip or zlib stream, at most `limit` bytes.

    Raises CompressionError or InflatedTooLargeError. A large content takes long: call it in a thread (`run_long`).
    """
    size, blocks = 0, []
    for block in _blocks(compressed, zlib.decompressobj(wbits)):
        size += len(block)
        if size > limit:
            raise InflatedTooLargeError(f"more than {limit} bytes when inflated")
        blocks.append(block)
    return b"".join(blocks)


def _blocks(compressed: bytes, inflater: zlib._Decompress) -> Iterator[bytes]:
    view = memoryview(compressed)
    try:
        for start in range(0, len(view), PIECE_BYTES):
            if inflater.eof:
                raise CompressionError("more follows behind its end")
            yield inflater.decompress(view[start : start + PIECE_BYTES], BLOCK_BYTES)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, BLOCK_BYTES)
    except zlib.error as error:
        raise CompressionError(str(error)) from None
    while not inflater.eof and (block := inflater.decompress(b"", BLOCK_BYTES)):
        yield block
    if not inflater.eof:
        raise CompressionError("its end is missing")
    if inflater.unused_data:
        raise CompressionError("more follows behind its end")
