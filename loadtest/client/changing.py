"""Requests that differ from one use to the next, as those behind a proxy or a mesh do: made ready before the clock
runs, with a few bytes put in place for each send.

Source: W3C Trace Context (https://www.w3.org/TR/trace-context/#traceparent-header).
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

TRACE_HEADER = "traceparent"
TRACE_PLACE = b"0" * 32 + b"-" + b"0" * 16
"""The trace id and the parent id, in which a `traceparent` differs from request to request."""
ID_PLACE = b"0" * 24 + b"-request"
"""An `x-request-id`."""
_TRACES, _SPANS = (1 << 128) - 1, (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835  # 2^128 over the golden ratio: neighbours in number share no digits


def headers(request_ids: bool = False) -> dict[str, str]:
    """The headers that a request must carry to be a `ChangingRequest`."""
    fields = {TRACE_HEADER: f"00-{TRACE_PLACE.decode()}-01"}
    return fields | {"x-request-id": ID_PLACE.decode()} if request_ids else fields


def trace_bytes(number: int) -> bytes:
    """The trace id and the parent id of request `number`, no two alike."""
    trace = number * _ODD & _TRACES
    return b"%032x-%016x" % (trace, trace >> 64 ^ number & _SPANS)


def id_bytes(number: int) -> bytes:
    """The request id of request `number`."""
    return b"%024x-request" % number


@dataclass(frozen=True)
class ChangingBytes:
    """Bytes with places that are written anew for each use."""

    pieces: tuple[bytes, ...]
    """What stays, before, between and after the places."""
    fields: tuple[Callable[[int], bytes], ...]
    """What is written into each place: a function of the request's number."""

    @classmethod
    def find(cls, data: bytes, places: Mapping[bytes, Callable[[int], bytes]]) -> ChangingBytes:
        """Cut `data` at the first occurrence of each place; one that isn't there is left out."""
        starts = sorted((data.find(place), place) for place in places if place in data)
        pieces, end = [], 0
        for start, place in starts:
            pieces.append(data[end:start])
            end = start + len(place)
        return cls((*pieces, data[end:]), tuple(places[place] for _, place in starts))

    def __call__(self, number: int) -> bytes:
        """The bytes of request `number`."""
        if len(self.fields) == 1:
            return b"".join((self.pieces[0], self.fields[0](number), self.pieces[1]))
        filled = [
            part for piece, field in zip(self.pieces, self.fields, strict=False) for part in (piece, field(number))
        ]
        return b"".join((*filled, self.pieces[-1]))


class ChangingRequests(Sequence[Any]):
    """Ready-made requests by index, REST (bytes) or gRPC (header block, DATA payloads).

    Every look-up counts on and gives bytes of its own, so look a request up once for each send.
    """

    def __init__(self, requests: Sequence[Any], places: Mapping[bytes, Callable[[int], bytes]]) -> None:
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


def _changing(request: Any, places: Mapping[bytes, Callable[[int], bytes]]) -> Callable[[int], Any]:
    if isinstance(request, bytes):
        return ChangingBytes.find(request, places)
    block, payloads = request
    head, first = ChangingBytes.find(block, places), ChangingBytes.find(payloads[0], places)
    if not first.fields:
        return lambda number: (head(number), payloads)
    return lambda number: (head(number), [first(number), *payloads[1:]])
