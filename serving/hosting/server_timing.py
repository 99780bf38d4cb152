"""Where the time of one request went, told to a client that asks for it: queue, compute, and the rows of the run."""

from __future__ import annotations

from serving.hosting.batcher import Outputs

REQUEST_HEADER = "x-server-timing"
"""The request header, or gRPC metadata, that asks for it; its value doesn't matter."""
RESPONSE_HEADER = "Server-Timing"
"""The response header that tells it; in lower case the trailing metadata of gRPC."""


def timing(outputs: Outputs) -> dict[str, float]:
    """The split as parameters of an answer."""
    return {
        "queue_us": round(outputs.queue_us, 1),
        "compute_us": round(outputs.compute_us, 1),
        "batch_rows": outputs.batch_rows,
    }


def server_timing(outputs: Outputs) -> str:
    """The split as a Server-Timing header: milliseconds. https://www.w3.org/TR/server-timing/"""
    return (
        f"queue;dur={outputs.queue_us / 1e3:.3f}, compute;dur={outputs.compute_us / 1e3:.3f}, "
        f'batch;desc="{outputs.batch_rows}"'
    )
