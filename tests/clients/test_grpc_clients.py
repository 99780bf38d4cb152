"""gRPC as the usual clients speak it: grpcio with its options, grpc-js, grpclib, and HTTP/2 by h2 and h2load."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

HERE = Path(__file__).parent
OPTIONS = {
    "its defaults": {},
    "small windows": {"grpc.http2.lookahead_bytes": 1024, "grpc.http2.bdp_probe": 0},
    "eager keepalive": {
        "grpc.keepalive_time_ms": 100,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
    },
    "small frames": {"grpc.http2.max_frame_size": 16_384, "grpc.http2.hpack_table_size.encoder": 0},
    "a large header table": {"grpc.http2.hpack_table_size.encoder": 65_536},
    "one write at a time": {"grpc.http2.write_buffer_size": 1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("compression", list(grpc.Compression), ids=str)
def test_grpcio(grpc_subject: Any, options: dict[str, int], compression: Any) -> None:
    with grpc.insecure_channel(grpc_subject.address, list(options.items())) as channel:
        ask = channel.unary_unary(grpc_subject.call.path)
        for _ in range(5):
            assert grpc_subject.is_right(ask(grpc_subject.call.body, timeout=60, compression=compression))


@pytest.mark.parametrize("size", [100, 7_000, 60_000])
def test_grpcio_with_large_metadata(grpc_subject: Any, size: int) -> None:
    with grpc.insecure_channel(grpc_subject.address, [("grpc.max_metadata_size", 1 << 20)]) as channel:
        metadata = (("x-large", "v" * size), ("x-bin", bytes(range(256))))
        answer = channel.unary_unary(grpc_subject.call.path)(grpc_subject.call.body, timeout=60, metadata=metadata)
        assert grpc_subject.is_right(answer)


def test_grpcio_with_changing_metadata_on_many_calls_at_once(grpc_subject: Any) -> None:
    with grpc.insecure_channel(grpc_subject.address) as channel:
        ask = channel.unary_unary(grpc_subject.call.path)
        metadata = [(("traceparent", f"00-{n:032x}-{n:016x}-01"), ("x-request-id", str(n))) for n in range(200)]
        calls = [ask.future(grpc_subject.call.body, timeout=60, metadata=pairs) for pairs in metadata]
        assert all(grpc_subject.is_right(call.result()) for call in calls)


@pytest.mark.parametrize("compression", [0, 1, 2], ids=["plain", "deflate", "gzip"])
def test_grpc_js(grpc_subject: Any, tmp_path: Path, program: Any, node_modules: Path, compression: int) -> None:
    (tmp_path / "message").write_bytes(grpc_subject.call.body)
    arguments = (grpc_subject.address, grpc_subject.call.path, tmp_path / "message", compression)
    answer = program("node", HERE / "grpc_js.cjs", *arguments, NODE_PATH=str(node_modules))
    assert grpc_subject.is_right(answer)


def test_grpclib(grpc_subject: Any) -> None:
    client = pytest.importorskip("grpclib.client", reason="no grpclib in this environment")
    host, port = grpc_subject.address.split(":")

    class Bytes:
        @staticmethod
        def encode(message: bytes, message_type: Any) -> bytes:
            return message

        @staticmethod
        def decode(data: bytes, message_type: Any) -> bytes:
            return data

        __content_subtype__ = "proto"

    async def ask() -> list[bytes]:
        async with client.Channel(host, int(port), codec=Bytes()) as channel:
            method = client.UnaryUnaryMethod(channel, grpc_subject.call.path, bytes, bytes)
            return await asyncio.gather(*[method(grpc_subject.call.body) for _ in range(20)])

    assert all(grpc_subject.is_right(answer) for answer in asyncio.run(ask()))


@pytest.mark.parametrize("window", [1, 1000, 65_535])
def test_h2_as_the_other_end(grpc_subject: Any, window: int) -> None:
    pytest.importorskip("h2", reason="no h2 in this environment")
    import h2.config
    import h2.connection
    import h2.events
    import h2.settings

    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
    peer.local_settings = h2.settings.Settings(client=True, initial_values=initial)
    peer.initiate_connection()
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", grpc_subject.call.path), (":authority", "t"),
        ("content-type", "application/grpc"), ("te", "trailers"),
    ]  # fmt: skip
    message = b"\0" + len(grpc_subject.call.body).to_bytes(4, "big") + grpc_subject.call.body
    host, port = grpc_subject.address.split(":")
    body, trailers = b"", {}
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        peer.send_headers(1, fields)
        starts = range(0, len(message), 16_384)
        for at in starts:
            peer.send_data(1, message[at : at + 16_384], end_stream=at == starts[-1])
        peer.ping(b"12345678")
        while "grpc-status" not in trailers:
            connection.sendall(peer.data_to_send())
            for event in peer.receive_data(connection.recv(65_536)):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                    peer.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = {bytes(n).decode(): bytes(v).decode() for n, v in event.headers}
                assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset), event
    assert trailers["grpc-status"] == "0"
    assert grpc_subject.is_right(body[5:])


def test_h2load(grpc_subject: Any, tmp_path: Path, program: Any) -> None:
    message = b"\0" + len(grpc_subject.call.body).to_bytes(4, "big") + grpc_subject.call.body
    (tmp_path / "message").write_bytes(message)
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    output = program(
        "h2load", "-n", 400, "-c", 4, "-m", 10, "-d", tmp_path / "message", *headers,
        f"http://{grpc_subject.address}{grpc_subject.call.path}",
    ).decode()  # fmt: skip
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in output
    assert "status codes: 400 2xx" in output


def test_h2load_leaves_room_for_others(grpc_subject: Any, program: Any) -> None:
    """A load by one client while another asks: both get their answers."""
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    outputs: list[bytes] = []
    loading = threading.Thread(
        target=lambda: outputs.append(
            program("h2load", "-n", 2000, "-c", 2, "-m", 50, *headers, f"http://{grpc_subject.address}/no/such")
        )
    )
    loading.start()
    with grpc.insecure_channel(grpc_subject.address) as channel:
        ask = channel.unary_unary(grpc_subject.call.path)
        while loading.is_alive():
            assert grpc_subject.is_right(ask(grpc_subject.call.body, timeout=60))
    loading.join()
    assert b"2000 done" in outputs[0]
