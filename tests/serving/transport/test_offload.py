"""What is large leaves the event loop: bodies are joined and inflated in a thread, answers go out piece by piece."""

from __future__ import annotations

import asyncio
import gzip
import threading
from typing import Any

import pytest

from serving.transport.grpc import call as grpc_call
from serving.transport.grpc.call import Method, Shared
from serving.transport.grpc.calls import Calls
from serving.transport.grpc.stream import SEND_BYTES
from serving.transport.http1 import connection as http_connection
from serving.transport.http2 import frames as h2
from serving.transport.limits import Limits
from serving.transport.offload import INFLATE_BYTES, LONG_BYTES, run_long

POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def test_run_long_calls_in_a_thread_and_gives_back_what_was_raised() -> None:
    def fail() -> None:
        raise ValueError(threading.current_thread().name)

    async def both() -> str:
        with pytest.raises(ValueError, match="long_"):
            await run_long(fail)
        return await run_long(lambda: threading.current_thread().name)

    assert asyncio.run(both()).startswith("long_")


@pytest.mark.parametrize(("size", "threads"), [(LONG_BYTES - 1, 0), (8 * LONG_BYTES, 1)], ids=["small", "large"])
def test_large_http_body_is_joined_in_a_thread(
    serving: Any, monkeypatch: pytest.MonkeyPatch, size: int, threads: int
) -> None:
    used: list[Any] = []
    monkeypatch.setattr(
        http_connection, "run_long", lambda function, *rest: used.append(function) or run_long(function, *rest)
    )
    content = bytes(range(256)) * (size // 256 + 1)

    async def body(served: Any) -> None:
        pieces = [content[at : at + 100_000] for at in range(0, size, 100_000)]
        pieces[-1] = pieces[-1][: size - 100_000 * (len(pieces) - 1)]
        reader, writer = await served.send(POST % size, *pieces)
        await reader.read()
        writer.close()
        assert served.requests[0].body == content[:size]
        assert len(used) == threads

    serving(body, Limits())


def test_answer_of_a_large_body_is_not_copied(serving: Any) -> None:
    async def body(served: Any) -> None:
        reader, writer = await served.send(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.endswith(b"\r\n\r\n" + bytes(8_000_000))

    serving(body)


class Sent:
    """Calls of a connection whose writes are kept."""

    def __init__(self, message: bytes) -> None:
        self.threads: list[str] = []
        self.messages: list[bytes] = []

        def answer(content: bytes, call: Any) -> bytes:
            self.messages.append(content)
            return message

        self.writes: list[bytes] = []
        self.calls = Calls(Shared({"/t": Method(answer)}, Limits()), self.writes.append)
        self.calls.first_window = self.calls.window = h2.WINDOW_LIMIT

    async def ask(
        self, content: bytes, encoding: str = "identity", flag: int = 0, numbers: tuple[int, ...] = (1,)
    ) -> None:
        """Begin a call on each stream, with the same message."""
        fields = [(":method", "POST"), (":path", "/t"), ("content-type", "application/grpc")]
        fields.append(("grpc-encoding", encoding))
        head = grpc_call.read_head(fields)
        for number in numbers:
            self.calls.open(number, head, whole=False)
            stream = self.calls.streams[number]
            whole = bytes((flag,)) + len(content).to_bytes(4, "big") + content
            stream.credit = len(whole)
            for at in range(0, len(whole), h2.FRAME_BYTES):
                self.calls.feed(stream, whole[at : at + h2.FRAME_BYTES], 0)
            self.calls.complete(stream)


LARGE = bytes(2 * LONG_BYTES)
REQUESTS = {
    "small": (b"x" * 100, "identity", 0, 0),
    "small and compressed": (gzip.compress(b"x" * 100), "gzip", 1, 0),
    "large": (LARGE, "identity", 0, 1),
    "large when inflated": (gzip.compress(LARGE * 10), "gzip", 1, 1),
}


@pytest.mark.parametrize(("content", "encoding", "flag", "threads"), REQUESTS.values(), ids=REQUESTS)
def test_large_grpc_message_is_joined_and_inflated_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, eventually_async: Any, content: bytes, encoding: str, flag: int, threads: int
) -> None:
    names: list[str] = []
    inner = grpc_call.read_message

    def watched(*arguments: Any) -> bytes:
        names.append(threading.current_thread().name)
        return inner(*arguments)

    monkeypatch.setattr("serving.transport.grpc.calls.read_message", watched)

    async def both() -> bytes:
        sent = Sent(b"")
        await sent.ask(content, encoding, flag)
        return (await eventually_async(lambda: sent.messages, 60))[0]

    message = asyncio.run(both())
    assert message == (gzip.decompress(content) if flag else content)
    assert [name.startswith("long_") for name in names] == [bool(threads)]


def test_compressed_message_that_stays_in_the_loop_can_not_be_large() -> None:
    assert INFLATE_BYTES * 1032 <= 5 * LONG_BYTES


def test_large_answers_go_out_in_pieces_turn_by_turn(eventually_async: Any) -> None:
    async def both() -> list[bytes]:
        sent = Sent(bytes(5 * SEND_BYTES))
        await sent.ask(b"x", numbers=(1, 3))
        await eventually_async(lambda: not sent.calls.streams, 60)
        return sent.writes

    writes = asyncio.run(both())
    assert max(map(len, writes)) < SEND_BYTES + 2000
    assert sum(map(len, writes)) > 10 * SEND_BYTES
    order = [int.from_bytes(write[5:9], "big") for write in writes if len(write) > 1000]
    assert order[:6] == [1, 3, 1, 3, 1, 3]


def test_blocked_connection_sends_nothing_until_it_is_read(eventually_async: Any) -> None:
    async def both() -> tuple[int, int]:
        sent = Sent(bytes(5 * SEND_BYTES))
        sent.calls.block()
        await sent.ask(b"x")
        before = len(sent.writes)
        sent.calls.unblock()
        await eventually_async(lambda: not sent.calls.streams, 60)
        return before, sum(map(len, sent.writes))

    before, written = asyncio.run(both())
    assert before == 0
    assert written > 5 * SEND_BYTES
