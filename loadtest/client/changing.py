"""Requests that differ from one use to the next, as those behind a proxy or a mesh do: made ready before the clock
runs, with a few bytes put in place for each send.

Source: W3C Trace Context (https://www.w3.org/TR/trace-context/#traceparent-header).
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

_TRACES, _SPANS = (1 << 128) - 1, (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835  # 2^128 over the golden ratio: neighbours in number share no digits


@dataclass(frozen=True)
class Place:
    """Bytes of a request that are written anew for each send, always as many."""

    name: str
    placeholder: bytes
    """What stands there before, by which the place is known."""
    fill: Callable[[int], bytes]
    """What stands there in the send of a number."""


def trace_bytes(number: int) -> bytes:
    """The trace id and the parent id of send `number`, no two alike."""
    trace = number * _ODD & _TRACES
    return b"%032x-%016x" % (trace, trace >> 64 ^ number & _SPANS)


TRACE = Place("trace", b"0" * 32 + b"-" + b"0" * 16, trace_bytes)
REQUEST_ID = Place("id", b"0" * 24 + b"-request", lambda number: b"%024x-request" % number)
TRACE_HEADERS = {"traceparent": f"00-{TRACE.placeholder.decode()}-01"}
ID_HEADERS = {"x-request-id": REQUEST_ID.placeholder.decode()}


@dataclass(frozen=True)
class ChangingBytes:
    """Bytes with places that are written anew for each use."""

    pieces: tuple[bytes, ...]
    """What stays, before, between and after the places."""
    places: tuple[Place, ...]

    @classmethod
    def find(cls, data: bytes, places: Iterable[Place]) -> ChangingBytes:
        """Cut `data` at the first occurrence of each place; one that isn't there is left out."""
        ordered = sorted(
            (place for place in places if place.placeholder in data), key=lambda place: data.find(place.placeholder)
        )
        pieces, end = [], 0
        for place in ordered:
            start = data.find(place.placeholder)
            pieces.append(data[end:start])
            end = start + len(place.placeholder)
        return cls((*pieces, data[end:]), tuple(ordered))

    def __call__(self, number: int) -> bytes:
        """The bytes of send `number`."""
        if len(self.places) == 1:
            return b"".join((self.pieces[0], self.places[0].fill(number), self.pieces[1]))
        filled = [piece + place.fill(number) for piece, place in zip(self.pieces, self.places, strict=False)]
        return b"".join((*filled, self.pieces[-1]))


class ChangingRequests(Sequence[Any]):
    """Ready-made requests by index, REST (bytes) or gRPC (header block, DATA payloads).

    Every look-up counts on and gives bytes of its own, so look a request up once for each send.
    """

    def __init__(self, requests: Sequence[Any], places: Sequence[Place]) -> None:
        self._numbers = itertools.count(secrets.randbits(40))  # another process begins elsewhere: no id comes twice
        self._requests = [_changing(request, places) for request in requests]

    def __len__(self) -> int:
        return len(self._requests)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._requests[index](next(self._numbers))


def _changing(request: Any, places: Sequence[Place]) -> Callable[[int], Any]:
    if isinstance(request, bytes):
        return ChangingBytes.find(request, places)
    block, payloads = request
    head, first = ChangingBytes.find(block, places), ChangingBytes.find(payloads[0], places)
    if not first.places:
        return lambda number: (head(number), payloads)
    return lambda number: (head(number), [first(number), *payloads[1:]])
