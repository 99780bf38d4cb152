"""Calls over our gRPC layer as clients make them, and as few clients do."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from serving.transport.http2 import frames as h2
from serving.transport.http2.frames import frame, literal_headers, number


def test_a_call_is_answered_with_its_trailing_metadata(channel: Any) -> None:
    answer, call = channel.unary_unary("/t.T/Echo").with_call(b"hello", metadata=(("ask", "7"),), timeout=5)
    assert (answer, dict(call.trailing_metadata())["asked"]) == (b"hello", "7")


@pytest.mark.parametrize("size", [0, 16_379, 16_380, 70_000, 299_995])
def test_messages_of_every_size_come_back(channel: Any, size: int) -> None:
    content = bytes(size)
    assert channel.unary_unary("/t.T/Echo")(content, timeout=5) == content


def test_several_messages_are_streamed(channel: Any) -> None:
    assert list(channel.unary_stream("/t.T/Count")(b"5", timeout=5)) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_inflated(channel: Any, compression: Any) -> None:
    assert channel.unary_unary("/t.T/Echo")(b"x" * 5000, timeout=5, compression=compression) == b"x" * 5000


@pytest.mark.parametrize(
    ("method", "content", "code", "details"),
    [
        ("/t.T/Fail", b"", "FAILED_PRECONDITION", "not now: 100 % of Ünicode\n"),
        ("/t.T/Fail", b"x", "INTERNAL", "internal error (KeyError)"),
        ("/t.T/Nope", b"", "UNIMPLEMENTED", "Method not found!"),
        ("/t.T/Echo", bytes(300_001), "RESOURCE_EXHAUSTED", "the limit is 300000"),
    ],
)
def test_errors_have_their_code_and_words(channel: Any, method: str, content: bytes, code: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(content, timeout=5)
    assert caught.value.code().name == code
    assert details in caught.value.details()


def test_many_calls_at_once_on_one_connection(channel: Any) -> None:
    calls = [channel.unary_unary("/t.T/Echo").future(str(n).encode() * 2000, timeout=10) for n in range(300)]
    assert [call.result() for call in calls] == [str(n).encode() * 2000 for n in range(300)]


def test_a_cancelled_call_stops_its_method(server: Any, channel: Any, cancelled: list[str], eventually: Any) -> None:
    call = channel.unary_unary("/t.T/Slow").future(b"60", timeout=30)
    eventually(lambda: server.streams(), within_s=20)
    call.cancel()
    eventually(lambda: cancelled, within_s=20)
    assert cancelled == ["/t.T/Slow"]


def test_a_passed_deadline_is_answered_by_the_server(client: Any) -> None:
    one = client()
    one.call(one.message(b"60"), method="Slow", grpc_timeout="100m")
    assert one.answer()[0]["grpc-status"] == "4"


def test_large_answers_wait_for_the_clients_windows(client: Any) -> None:
    one = client(settings={h2.INITIAL_WINDOW_SIZE: 10})
    one.call(one.message(b"x" * 95))
    taken, body = 0, b""
    for kind, flags, stream, payload in one.frames():
        if kind == h2.DATA:
            taken, body = taken + len(payload), body + payload
            assert len(payload) <= 10
            one.send(frame(h2.WINDOW_UPDATE, 0, stream, number(10)))
        if stream == 1 and flags & h2.END_STREAM:
            break
    assert body == one.message(b"x" * 95)


def test_padding_priority_and_continuation_are_read(client: Any) -> None:
    one = client()
    block = one.head()[9:]
    padded = b"\x03" + b"\0" * 5 + block[:40] + b"\0\0\0"
    one.send(frame(h2.HEADERS, h2.PADDED | h2.PRIORITY, 1, padded), frame(h2.CONTINUATION, 0, 1, block[40:50]))
    one.send(frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[50:]))
    one.send(frame(h2.DATA, h2.PADDED | h2.END_STREAM, 1, b"\x02" + one.message(b"hi") + b"\0\0"))
    fields, body = one.answer()
    assert (fields["grpc-status"], body) == ("0", one.message(b"hi"))


def test_bytes_may_come_one_by_one(client: Any) -> None:
    one = client()
    for byte in one.head() + one.data(one.message(b"slow")):
        one.socket.sendall(bytes((byte,)))
    assert one.answer()[1] == one.message(b"slow")


def test_trailers_of_a_request_end_it(client: Any) -> None:
    one = client()
    one.send(one.head(), one.data(one.message(b"x"), flags=0))
    one.send(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, literal_headers({"tail": "1"})))
    assert one.answer()[1] == one.message(b"x")


def test_a_drain_answers_what_is_under_way_and_takes_no_more(start: Any, client: Any, eventually: Any) -> None:
    running = start()
    one = client(port=running.port)
    one.call(one.message(b"0.6"), method="Slow")
    eventually(running.streams, within_s=20)
    ender = threading.Thread(target=running.end)
    ender.start()
    fields, body = one.answer()
    assert (fields["grpc-status"], body) == ("0", one.message(b"0.6"))
    assert {kind for kind, *_ in one.frames()} <= {h2.GOAWAY}
    ender.join(5)


def test_client_of_an_aged_connection_has_to_reconnect(start: Any, eventually: Any) -> None:
    running, seen = start(connection_age_s=100), set()
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:

        def reconnected() -> bool:
            assert channel.unary_unary("/t.T/Echo")(b"x", timeout=20) == b"x"
            seen.update(list(running.server.shared.connections))
            running.pass_time(60)
            return len(seen) == 2

        eventually(reconnected, within_s=60)


def test_a_token_is_demanded_where_one_is_set(start: Any) -> None:
    running = start(token="letmein", public=("/t.T/Count",))
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Echo")(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer letmein"),)
        assert channel.unary_unary("/t.T/Echo")(b"a", timeout=5, metadata=metadata) == b"a"
        assert list(channel.unary_stream("/t.T/Count")(b"1", timeout=5)) == [b"0"]
