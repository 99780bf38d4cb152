"""The least code that can serve a model over HTTP: a bare uvloop + httptools loop that batches what has arrived.

The baseline of `serving/`, never a product: it checks nothing, knows one model with one FP32 input and one FP32
output, and answers binary requests with binary and JSON requests with JSON of the Open Inference Protocol.

    python -m loadtest.bench.systems_under_test.ceiling <port> <version folder> <format>
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import cast

import httptools
import numpy as np
import orjson
import simdjson
import uvloop

from export.format import find_format

MAX_ROWS = 32


class Runner:
    """Runs what has arrived, in batches."""

    def __init__(self, folder: Path, format_name: str) -> None:
        self.model = find_format(format_name).load(folder, 1)
        self.input = self.model.inputs[0]
        self.output = self.model.outputs[0].name
        self.row = list(self.input.shape[1:])
        self.waiting: list[tuple[Connection | Reply, np.ndarray, bool]] = []

    def add(self, connection: Connection | Reply, array: np.ndarray, binary: bool) -> None:
        self.waiting.append((connection, array, binary))
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_soon(self.run)

    def run(self) -> None:
        batch, self.waiting = self.waiting[:MAX_ROWS], self.waiting[MAX_ROWS:]
        if self.waiting:
            asyncio.get_running_loop().call_soon(self.run)
        joined = np.concatenate([array for _, array, _ in batch]) if len(batch) > 1 else batch[0][1]
        answers = self.model.run({self.input.name: joined})[self.output]
        for index, (connection, _, binary) in enumerate(batch):
            connection.answer(answers[index], binary)


class Reply:
    """Where the runner leaves an answer."""

    def __init__(self) -> None:
        self.row: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()

    def answer(self, row: np.ndarray, binary: bool) -> None:
        self.row.set_result(row)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.parser = httptools.HttpRequestParser(self)
        self.length: int | None = None
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"inference-header-content-length":
            self.length = int(value)

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if not body:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        if self.length is not None:
            array = np.frombuffer(body, np.float32, offset=self.length)
        else:
            data = simdjson.Parser().parse(body)["inputs"][0]["data"]  # type: ignore[index]
            array = np.frombuffer(data.as_buffer(of_type="d"), np.float64).astype(np.float32)  # type: ignore[union-attr]
        self.runner.add(self, array.reshape(1, *self.runner.row), self.length is not None)

    def answer(self, row: np.ndarray, binary: bool) -> None:
        head = b'{"outputs":[{"name":"%s","datatype":"FP32","shape":[1,%d],' % (self.runner.output.encode(), row.size)
        if binary:
            head += b'"parameters":{"binary_data_size":%d}}]}' % row.nbytes
            body, extra = head + row.tobytes(), b"Inference-Header-Content-Length: %d\r\n" % len(head)
        else:
            body, extra = head + b'"data":' + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"}]}", b""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), extra) + body)


async def serve(port: int, runner: Runner) -> None:
    """Serve until killed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(runner), sock=sock)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Runner(Path(sys.argv[2]), sys.argv[3])))
