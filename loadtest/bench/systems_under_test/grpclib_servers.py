"""grpclib, gRPC in pure Python over h2: sending each message back, or with the model behind the ceiling's batches.

The baseline of the claim that our own HTTP/2 layer is worth its lines: the same work on the library that one would
otherwise take.

    python -m loadtest.bench.systems_under_test.grpclib_servers <port> <full method name> [<version folder> <format>]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from loadtest.bench.systems_under_test.ceiling import Reply, Runner
from serving import protos


class Bytes(CodecBase):
    """Messages as they are on the wire."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        """Nothing to do."""
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        """Nothing to do."""
        return data


class Service:
    """One unary method that sends the message back."""

    def __init__(self, method: str) -> None:
        self.method = method

    async def answer(self, message: bytes) -> bytes:
        """The answer to a message."""
        return message

    async def call(self, stream: Stream[bytes, bytes]) -> None:
        """One call."""
        message = await stream.recv_message()
        assert message is not None
        await stream.send_message(await self.answer(message))

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks of a service."""
        return {self.method: Handler(self.call, Cardinality.UNARY_UNARY, bytes, bytes)}


class Predictor(Service):
    """The method with the model behind it: one FP32 input, one FP32 output, as raw contents."""

    def __init__(self, method: str, runner: Runner) -> None:
        super().__init__(method)
        self.runner = runner
        self.requests, self.responses = (
            protos.message(f"inference.ModelInfer{kind}") for kind in ("Request", "Response")
        )

    async def answer(self, message: bytes) -> bytes:
        """Run the tensor in a batch with others that have arrived."""
        request = self.requests.FromString(message)
        reply = Reply()
        array = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(1, *self.runner.row)
        self.runner.add(reply, array, True)
        row = await reply.row
        response = self.responses(model_name=request.model_name)
        response.outputs.add(name=self.runner.output, datatype="FP32", shape=[1, row.size])
        response.raw_output_contents.append(row.tobytes())
        serialized: bytes = response.SerializeToString()
        return serialized


async def serve(port: int, method: str, *model: str) -> None:
    """Serve until killed."""
    service = Predictor(method, Runner(Path(model[0]), model[1])) if model else Service(method)
    server = Server([service], codec=Bytes())
    await server.start("127.0.0.1", port)
    await server.wait_closed()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:]))
