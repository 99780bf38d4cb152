"""Decodes the header blocks of one HTTP/2 connection, and keeps what it made of those that come again.

A block that enters nothing into the decoder's table means the same until the table changes. What was made of it is
looked up, not decoded again: that is half the processor time of a small call whose client repeats its headers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError

__all__ = ["HPACKError", "HeaderDecoder"]

KNOWN_BLOCKS = 256
PATIENCE = 64
"""So many new blocks in a row show a client whose headers always change: then each 64th alone is kept, for a trial."""
Fields = list[tuple[str, str]]
Made = TypeVar("Made")


class HeaderDecoder(Generic[Made]):
    """An HPACK decoder whose `decode` gives what `make` makes of the fields."""

    def __init__(self, make: Callable[[Fields], Made], list_bytes: int = 65_536) -> None:
        """`list_bytes` bounds a decoded block as RFC 9113 counts it: 32 bytes a field beside name and value."""
        self._make = make
        self._decoder = Decoder(list_bytes)
        self._known: dict[bytes, Made] = {}
        self._new_in_a_row = 0

    def decode(self, block: bytes) -> Made:
        """What a header block says; raises HPACKError where it can't be read."""
        known = self._known.get(block)
        if known is not None:
            self._new_in_a_row = 0
            return known
        made = self._make([(str(name), str(value)) for name, value in self._decoder.decode(block)])
        self._new_in_a_row += 1
        is_skipped = self._new_in_a_row > PATIENCE and self._new_in_a_row % PATIENCE
        if is_skipped or changes_table(block) or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()  # whatever the block changed in the table
        else:
            self._known[block] = made
        return made


def changes_table(block: bytes) -> bool:
    """Whether a block, which can be read, enters a field into the decoder's table or resizes it (RFC 7541, 6)."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # an indexed field
            _, at = _integer(block, at, 7)
        elif first & 0x60:  # a literal with incremental indexing, or a new size of the table
            return True
        else:  # a literal: its value, and its name unless that is indexed
            index, at = _integer(block, at, 4)
            for _ in range(1 if index else 2):
                length, at = _integer(block, at, 7)
                at += length
    return False


def _integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """An integer (RFC 7541, 5.1) and where it ends."""
    largest = (1 << prefix_bits) - 1
    value, at = block[at] & largest, at + 1
    if value < largest:
        return value, at
    shift = 0
    while True:
        byte, at = block[at], at + 1
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
