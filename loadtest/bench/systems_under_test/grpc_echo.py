"""A bare `grpc.aio` server that sends each message back: what gRPC in Python costs before any work is done.

python -m loadtest.bench.systems_under_test.grpc_echo <port> <full method name>
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop


async def echo(message: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
    """Send the message back."""
    return message


async def serve(port: int, method: str) -> None:
    """Serve until killed."""
    service, _, name = method.strip("/").partition("/")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
