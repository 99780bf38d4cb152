"""A server that answers at once with a constant: what the client can do at most is measured against it.

Speaks just enough HTTP/1.1 (`rest`, `rest-binary`) or HTTP/2 (`grpc`) to take any request and give the same answer;
reads no model. `--stall-after N --stall-ms M` stops it once, for M milliseconds after N requests; `--service-ms S`
keeps the processor busy for S milliseconds on each request, as a server does that computes. It prints `{"port": N}`
when it listens.

    python -m loadtest.runs.null_server --protocol rest --answer answer.bin
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from serving.transport.http2.frames import (
    CLIENT_PREFACE,
    DATA,
    HEADERS,
    PING,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal_headers,
)


@dataclass
class Behaviour:
    """What every connection of one server answers, and the delays planted in it."""

    answer: bytes
    stall_after: int = 0
    """Requests before the one stall; 0 is never."""
    stall_s: float = 0.0
    service_s: float = 0.0
    """Busy time of each request."""
    fault: str = ""
    """`wrong`: another answer; `close`: the connection is closed instead."""
    fault_after: int = 0
    """Requests before the fault begins."""
    requests: int = 0

    def spend(self) -> str:
        """Count a request and hold the whole server for as long as the settings say; returns the fault it meets."""
        self.requests += 1
        if self.stall_after and self.requests == self.stall_after:
            time.sleep(self.stall_s)
        if self.service_s:
            end = time.perf_counter() + self.service_s
            while time.perf_counter() < end:
                pass
        return self.fault if self.requests > self.fault_after else ""


class Http1(asyncio.Protocol):
    """HTTP/1.1 with Content-Length; a keep-alive connection."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(behaviour.answer)}\r\n\r\n"
        self.answer = head.encode() + behaviour.answer
        self.wrong_answer = head.encode() + behaviour.answer[::-1]
        self.waiting = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Answer each request as its last byte arrives."""
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.waiting[:end]).lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.waiting) < end + 4 + length:
                return
            del self.waiting[: end + 4 + length]
            fault = self.behaviour.spend()
            if fault == "exit":
                os._exit(1)
            if fault == "close":
                self.transport.abort()
                return
            self.transport.write(self.wrong_answer if fault == "wrong" else self.answer)


class Http2(asyncio.Protocol):
    """HTTP/2 with the framing of gRPC: every stream gets the same message and status 0."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.waiting = bytearray()
        self.greeted = False
        self.message = b"\0" + len(behaviour.answer).to_bytes(4, "big") + behaviour.answer
        self.head = literal_headers({":status": "200", "content-type": "application/grpc"})
        self.trailer = literal_headers({"grpc-status": "0"})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings and open the connection's window as far as it goes."""
        self.transport = cast("asyncio.Transport", transport)
        window = (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big")
        self.transport.write(
            frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
        )

    def data_received(self, data: bytes) -> None:
        """Take every whole frame."""
        self.waiting += data
        if not self.greeted:
            if len(self.waiting) < len(CLIENT_PREFACE):
                return
            del self.waiting[: len(CLIENT_PREFACE)]
            self.greeted = True
        answers = []
        while len(self.waiting) >= 9:
            size = int.from_bytes(self.waiting[:3], "big")
            if len(self.waiting) < 9 + size:
                break
            kind, flags, stream = self.waiting[3], self.waiting[4], int.from_bytes(self.waiting[5:9], "big")
            payload = bytes(self.waiting[9 : 9 + size])
            del self.waiting[: 9 + size]
            answers.append(self._answer(kind, flags, stream, payload))
        if answers:
            self.transport.write(b"".join(answers))

    def _answer(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind == SETTINGS and not flags & 1:
            return frame(SETTINGS, 1, 0, b"")
        if kind == PING and not flags & 1:
            return frame(PING, 1, 0, payload)
        if kind != DATA:
            return b""
        opened = frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")) if payload else b""
        if not flags & 1:
            return opened
        if self.behaviour.spend():
            self.transport.abort()
            return b""
        return (
            opened
            + frame(HEADERS, 4, stream, self.head)
            + frame(DATA, 0, stream, self.message)
            + frame(HEADERS, 5, stream, self.trailer)
        )


async def _serve(protocol: str, port: int, behaviour: Behaviour) -> None:
    loop = asyncio.get_running_loop()
    kind = Http2 if protocol == "grpc" else Http1
    server = await loop.create_server(lambda: kind(behaviour), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()


def main() -> int:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="a server that answers at once with a constant")
    parser.add_argument("--protocol", choices=("rest", "rest-binary", "grpc"), default="rest")
    parser.add_argument(
        "--answer", type=Path, help="file whose bytes are the body, or the gRPC message, of every answer"
    )
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--stall-after", type=int, default=0)
    parser.add_argument("--stall-ms", type=float, default=0.0)
    parser.add_argument("--service-ms", type=float, default=0.0)
    parser.add_argument(
        "--fault", choices=("wrong", "close", "exit"), default="", help="what goes wrong (gRPC: always a close)"
    )
    parser.add_argument("--fault-after", type=int, default=0, help="requests before the fault begins")
    options = parser.parse_args()
    answer = options.answer.read_bytes() if options.answer else b"{}"
    delays = (options.stall_after, options.stall_ms / 1e3, options.service_ms / 1e3)
    behaviour = Behaviour(answer, *delays, options.fault, options.fault_after)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(options.protocol, options.port, behaviour))
    else:
        uvloop.run(_serve(options.protocol, options.port, behaviour))
    return 0


if __name__ == "__main__":
    sys.exit(main())
