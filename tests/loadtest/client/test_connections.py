"""The two connections against other people's servers and clients: http.server, grpcio; and against broken answers."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadtest.client.grpc import GrpcConnection
from loadtest.client.http1 import Http1Connection
from loadtest.client.requests import BrokenAnswerError, grpc_request, http1_request
from loadtest.runs.calibration import null_server

ECHO = "/test.Echo/Echo"


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a POST with its body, in chunks under /chunked, and closes under /close."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in filter(None, (body[:7], body[7:])):
                self.wfile.write(b"%x;x=y\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            if self.path == "/close":
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def grpc_port() -> Iterator[int]:
    import grpc

    def echo(message: bytes, context: grpc.ServicerContext) -> bytes:
        if message == b"refuse":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
        return message

    handler = grpc.method_handlers_generic_handler("test.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.server(ThreadPoolExecutor(4), [handler], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], int]]:
    """A server that answers its first connection with some bytes, whatever it is asked, and closes it."""
    listeners = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("path", ["/", "/chunked", "/close"])
@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_http_answers_come_back_whole(http_port: int, path: str, size: int) -> None:
    connection = Http1Connection("127.0.0.1", http_port)
    body = bytes(range(256)) * (size // 256 + 1)
    for _ in range(2):
        answer = connection.exchange(http1_request(path, {"X-Y": "z"}, body[:size], "host"))
        assert (answer.status, answer.body) == (200, body[:size])
    connection.close()


@pytest.mark.parametrize("size", [0, 10, 16_379, 16_380, 200_000, 2_000_000])
def test_grpc_messages_come_back_whole(grpc_port: int, size: int) -> None:
    connection = GrpcConnection("127.0.0.1", grpc_port)
    message = bytes(range(251)) * (size // 251 + 1)
    for _ in range(3):
        answer = connection.exchange(grpc_request(ECHO, {"key": "value"}, message[:size], "host"))
        assert (answer.status, answer.body) == (0, message[:size])
    connection.close()


def test_a_grpc_refusal_has_its_status_and_message(grpc_port: int) -> None:
    connection = GrpcConnection("127.0.0.1", grpc_port)
    answer = connection.exchange(grpc_request(ECHO, {}, b"refuse", "host"))
    assert (answer.status, answer.head) == (3, b"no such thing")
    assert connection.exchange(grpc_request(ECHO, {}, b"fine", "host")).body == b"fine"
    assert connection.exchange(grpc_request("/test.Echo/None", {}, b"", "host")).status == 12
    connection.close()


def test_grpcio_gets_the_null_servers_answer(tmp_path: Path) -> None:
    import grpc

    with null_server(tmp_path, "grpc", b"answer", None) as (_, port):
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        call = channel.unary_unary("/any.Service/Method")
        assert [call(b"x" * 50_000, timeout=10) for _ in range(5)] == [b"answer"] * 5
        channel.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection within the head"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "neither Content-Length nor chunks"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "closed the connection within the body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", "2 bytes more than the Content-Length of 1"),
        (b"SSH-2.0-OpenSSH\r\n\r\n\r\n", "no HTTP/1.1 status line"),
    ],
)
def test_broken_http_is_refused(answering: Callable[[bytes], int], answer: bytes, said: str) -> None:
    connection = Http1Connection("127.0.0.1", answering(answer), timeout_s=5)
    with pytest.raises(BrokenAnswerError, match=said):
        connection.exchange(http1_request("/", {}, b"", "host"))
    assert connection.sock is None


def test_http_is_no_grpc(answering: Callable[[bytes], int]) -> None:
    connection = GrpcConnection("127.0.0.1", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), timeout_s=5)
    with pytest.raises(BrokenAnswerError, match="closed the connection"):
        connection.exchange(grpc_request(ECHO, {}, b"", "host"))


def test_nobody_there_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        Http1Connection("127.0.0.1", port, timeout_s=5).exchange(b"")
