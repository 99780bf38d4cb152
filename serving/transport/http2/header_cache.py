"""Decodes the header blocks of one HTTP/2 connection, and knows again those that it has seen.

A client says nearly the same with every request. A block that entered nothing into the decoder's table means the same
until the table changes, so what was made of it is looked up, not decoded again: that is half the processor time of a
small call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError

__all__ = ["HPACKError", "HeaderDecoder"]

KNOWN_BLOCKS = 256
Fields = list[tuple[str, str]]
Made = TypeVar("Made")


class HeaderDecoder(Generic[Made]):
    """An HPACK decoder whose `decode` gives what `make` makes of the fields."""

    def __init__(self, make: Callable[[Fields], Made], list_bytes: int = 65_536) -> None:
        """`list_bytes` bounds a decoded block as RFC 9113 counts it: 32 bytes a field beside name and value."""
        self._make = make
        self._decoder = Decoder(list_bytes)
        self._known: dict[bytes, Made] = {}

    def decode(self, block: bytes) -> Made:
        """What a header block says; raises HPACKError where it can't be read."""
        known = self._known.get(block)
        if known is not None:
            return known
        newest, size = self._table_state()
        made = self._make([(str(name), str(value)) for name, value in self._decoder.decode(block)])
        newest_now, size_now = self._table_state()
        if newest_now is not newest or size_now != size or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        else:
            self._known[block] = made
        return made

    def _table_state(self) -> tuple[object, int]:
        """The newest entry and the size: the same before and after a block that entered nothing and resized nothing."""
        table = self._decoder.header_table
        return (table.dynamic_entries[0] if table.dynamic_entries else None), table.maxsize
