"""Who may ask a server of our own, over what, and what is written down of it: token, TLS, access log.

All three are options that cost a request nothing where they are off. The log is one JSON line per request to stdout.
"""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from typing import Any

from contract import StageError
from serving.transport.grpc.call import Call
from serving.transport.grpc.status import Code
from serving.transport.http1.messages import Request, Response


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS, or None without a certificate; raises StageError where the files are no pair."""
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise StageError(f"{certificate} and {key} are no certificate and key: {error}") from None
    return context


def log_request(request: Request | None, response: Response) -> None:
    """Write down an HTTP answer: time, request line, status, bytes, milliseconds."""
    line: dict[str, Any] = {"time": time.time(), "status": response.status, "response_bytes": len(response.body)}
    if request is not None:
        line |= {"method": request.method, "target": request.target, "request_bytes": len(request.body)}
        line["ms"] = round((time.perf_counter() - request.arrival_s) * 1e3, 3)
    print(json.dumps(line), flush=True)


def log_call(call: Call, code: Code, size: int) -> None:
    """Write down a gRPC answer: time, method, code, bytes, milliseconds."""
    line = {"time": time.time(), "method": call.path, "code": code.name, "response_bytes": size}
    print(json.dumps(line | {"ms": round((time.perf_counter() - call.arrival_s) * 1e3, 3)}), flush=True)
