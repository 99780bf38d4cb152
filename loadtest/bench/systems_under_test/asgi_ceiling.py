"""The ceiling's work as a raw ASGI application on uvicorn: what uvicorn costs beside a bare loop. Binary requests only.

python -m loadtest.bench.systems_under_test.asgi_ceiling <port> <version folder> <format>
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from loadtest.bench.systems_under_test.ceiling import Reply, Runner


def application(runner: Runner) -> Any:
    """The ASGI callable."""
    head = b'{"outputs":[{"name":"%s"}]}' % runner.output.encode()

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        answer = b""
        if body:
            length = next(int(v) for k, v in scope["headers"] if k == b"inference-header-content-length")
            reply = Reply()
            runner.add(reply, np.frombuffer(body, np.float32, offset=length).reshape(1, *runner.row), True)
            answer = head + (await reply.row).tobytes()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return serve


if __name__ == "__main__":
    runner = Runner(Path(sys.argv[2]), sys.argv[3])
    options = {"loop": "uvloop", "http": "httptools", "log_level": "error", "access_log": False, "lifespan": "off"}
    uvicorn.run(application(runner), host="127.0.0.1", port=int(sys.argv[1]), **options)  # type: ignore[arg-type]
