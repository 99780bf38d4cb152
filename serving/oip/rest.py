"""The Open Inference Protocol over HTTP: paths to answers.

GET  /v2, /v2/health/{live,ready}, /v2/models/{m}[/versions/{v}][/ready], /metrics
POST /v2/models/{m}[/versions/{v}]/infer, /v2/repository/index, /v2/repository/models/{m}/{load,unload}
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

from serving.hosting.batcher import Outputs
from serving.hosting.errors import RequestError, as_request_error
from serving.hosting.metrics import Metrics
from serving.hosting.model_repository import ModelRepository
from serving.hosting.served_model import ServedModel
from serving.hosting.server_timing import REQUEST_HEADER, RESPONSE_HEADER, server_timing, timing
from serving.oip.json_request import InferRequest, Wants, read_infer
from serving.oip.json_response import encode_answer
from serving.oip.metadata import EXTENSIONS, LONG_BYTES, model_metadata, timeout_s
from serving.transport.compression import CompressionError, InflatedTooLargeError, inflate
from serving.transport.http1.messages import Request, Response
from serving.transport.offload import INFLATE_BYTES, run_long

LIVE, READY = "/v2/health/live", "/v2/health/ready"
RETRY_AFTER_S = 1
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPES = ("application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain")
"""Content types of an infer request; the last two are what curl and simple clients send without being told."""
MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
ROUTE_CHARACTERS = 256
"""The route of a longer target is not kept."""
REPOSITORY_PATH = re.compile(r"/v2/repository/models/([^/]+)/(load|unload)")

Answer = Response | Awaitable[Response]


def error_response(status: int, reason: str) -> Response:
    """The protocol's error: `{"error": reason}`."""
    return Response(status, orjson.dumps({"error": reason}))


class Errors:
    """The `ErrorFormatter` of the protocol."""

    def refusal(self, status: int, reason: str, request: Request | None) -> Response:
        """The answer to what the HTTP layer refuses."""
        return error_response(status, reason)

    def failure(self, error: BaseException, request: Request) -> Response:
        """The answer to what a handler raised."""
        request_error = as_request_error(error)
        response = error_response(request_error.status, str(request_error))
        if request_error.status == 503:
            response.headers = (("Retry-After", str(RETRY_AFTER_S)),)
        return response


class RestApi:
    """An `http.Handler`."""

    def __init__(self, models: ModelRepository, metrics: Metrics, name: str, version: str, body_bytes: int) -> None:
        self._models = models
        self._body_bytes = body_bytes
        metadata = {"name": name, "version": version, "extensions": EXTENSIONS}
        self._fixed: dict[str, Callable[[], Response]] = {
            LIVE: lambda: _json({"live": True}),
            READY: self._ready,
            "/v2": lambda: _json(metadata),
            "/metrics": lambda: Response(200, metrics.text().encode(), METRICS_TYPE),
        }

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        target = request.target
        route = _model_route(target) if len(target) <= ROUTE_CHARACTERS else _model_route.__wrapped__(target)
        if route is not None:
            return self._route_model(request, *route)
        path = target.partition("?")[0].rstrip("/")
        if (answer := self._fixed.get(path)) is not None:
            return _only(request, "GET", answer)
        if path == "/v2/repository/index":
            return _only(request, "POST", lambda: self._index(request))
        if (match := REPOSITORY_PATH.fullmatch(path)) is not None:
            name, change = unquote(match[1]), match[2]
            return _only(request, "POST", lambda: self._change(name, change))
        raise RequestError(404, f"no such path: {path[:200] or '/'}: see /v2 and the Open Inference Protocol")

    def _ready(self) -> Response:
        return _json({"ready": self._models.ready}, 200 if self._models.ready else 503)

    def _route_model(self, request: Request, name: str, version: str | None, verb: str | None) -> Answer:
        if verb == "infer":
            return self._infer(request, name, version) if request.method == "POST" else _not_allowed(request, "POST")
        if verb == "ready":
            return _only(request, "GET", lambda: self._model_ready(name, version))
        return _only(request, "GET", lambda: _json(model_metadata(self._models, name, version)))

    def _model_ready(self, name: str, version: str | None) -> Response:
        served = self._models.find(name, version)
        return _json({"name": served.name, "ready": self._models.ready}, 200 if self._models.ready else 503)

    # inference

    def _infer(self, request: Request, name: str, version: str | None) -> Answer:
        served = self._models.find(name, version)
        headers, body = request.headers, request.body
        length, encoding = headers.get("inference-header-content-length"), headers.get("content-encoding")
        if encoding and len(body) >= INFLATE_BYTES:
            return self._infer_long(request, length, served)
        try:
            _check_content_type(headers.get("content-type", ""))
            if encoding:
                body = request.body = _inflate(body, encoding, self._body_bytes)
                del headers["content-encoding"]
            if _takes_long(body, length, served):
                return self._infer_long(request, length, served)
            return _submit(request, read_infer(body, length, served.signature), served)
        except Exception as error:
            served.count_error(error)
            raise

    async def _infer_long(self, request: Request, length: str | None, served: ServedModel) -> Response:
        """Inflate and read in a thread."""
        encoding, limit = request.headers.get("content-encoding", ""), self._body_bytes
        with served.in_use():
            try:
                _check_content_type(request.headers.get("content-type", ""))
                body = await run_long(_inflate, request.body, encoding, limit) if encoding else request.body
                infer = await run_long(read_infer, body, length, served.signature)
                answer = _submit(request, infer, served)
            except Exception as error:
                served.count_error(error)
                raise
        return await answer

    # the repository extension

    def _index(self, request: Request) -> Response:
        only_ready = False
        if body := bytes(request.body).strip():
            try:
                wanted = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise RequestError(400, f"the request is not JSON: {error}") from None
            if not isinstance(wanted, dict):
                raise RequestError(400, "the request must be a JSON object")
            only_ready = wanted.get("ready") is True
        rows = self._models.index()
        return _json([row for row in rows if row["state"] == "READY" or not only_ready])

    async def _change(self, name: str, change: str) -> Response:
        await (self._models.load(name) if change == "load" else self._models.unload(name))
        return Response(200)


@lru_cache(1024)
def _model_route(target: str) -> tuple[str, str | None, str | None] | None:
    """The model, version and verb of a target; None where it is no model's. Few targets come again and again."""
    match = MODEL_PATH.fullmatch(target.partition("?")[0].rstrip("/"))
    if match is None:
        return None
    name, version, verb = match.groups()
    return unquote(name), version and unquote(version), verb


def _takes_long(body: bytes | memoryview, length: str | None, served: ServedModel) -> bool:
    """Whether a request has so much to parse that it is read in a thread; numbers behind the JSON are not parsed."""
    if len(body) < LONG_BYTES:
        return False
    is_text = length is None or not length.isdecimal() or int(length[:18]) >= LONG_BYTES
    return is_text or served.signature.has_bytes


def _submit(request: Request, infer: InferRequest, served: ServedModel) -> asyncio.Future[Response]:
    """Queue a request that is right."""
    timeout = infer.wants.parameters.get("timeout")
    deadline_s = request.arrival_s + timeout_s(timeout) if timeout else None
    return served.batcher.submit(infer.inputs, deadline_s, _Answer(request, infer.wants, served))


class _Answer:
    """Turns the outputs of a run into the response to one request; a `then` of the batcher."""

    __slots__ = ("_request", "_served", "_wants")

    def __init__(self, request: Request, wants: Wants, served: ServedModel) -> None:
        self._request = request
        self._wants = wants
        self._served = served

    def __call__(self, outputs: Outputs) -> Response | asyncio.Future[Response]:
        if outputs.size_bytes >= LONG_BYTES:
            encoded = run_long(self._encode, outputs)
            encoded.add_done_callback(self._count)
            return encoded
        try:
            response = self._encode(outputs)
        except RequestError as error:
            self._served.count_error(error)
            raise
        self._count_answer()
        return response

    def _encode(self, outputs: Outputs) -> Response:
        served, wants = self._served, self._wants
        head: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
        if wants.id is not None:
            head["id"] = wants.id
        headers: tuple[tuple[str, str], ...] = ()
        if REQUEST_HEADER in self._request.headers:
            headers = ((RESPONSE_HEADER, server_timing(outputs)),)
        if wants.parameters.get("server_timing"):
            head["parameters"] = timing(outputs)
        body, json_bytes = encode_answer(head, outputs, wants, served.signature)
        if json_bytes is None:
            return Response(200, body, headers=headers)
        length = ("Inference-Header-Content-Length", str(json_bytes))
        return Response(200, body, "application/octet-stream", (length, *headers))

    def _count(self, encoded: asyncio.Future[Response]) -> None:
        if not encoded.cancelled() and (error := encoded.exception()) is not None:
            self._served.count_error(error)
        else:
            self._count_answer()

    def _count_answer(self) -> None:
        self._served.metrics.answered(time.perf_counter() - self._request.arrival_s)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """A compressed body's content, at most `limit` bytes."""
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in reversed(names):
        if name in ("gzip", "x-gzip", "deflate"):
            try:
                body = inflate(body, limit)
            except CompressionError as error:
                raise RequestError(400, f"the body is not one whole {name} stream: {error}") from None
            except InflatedTooLargeError as error:
                raise RequestError(413, f"the body has {error}") from None
        elif name not in ("", "identity"):
            raise RequestError(415, f"unknown Content-Encoding {name!r}: identity, gzip and deflate are known")
    return body


def _check_content_type(value: str) -> None:
    if value in JSON_TYPES:
        return
    kind = value.partition(";")[0].strip().lower()
    if kind and kind not in JSON_TYPES and not kind.endswith("+json"):
        raise RequestError(
            415, f"Content-Type {kind!r} is not served: use application/json or application/octet-stream"
        )


def _only(request: Request, method: str, answer: Callable[[], Answer]) -> Answer:
    if request.method == method or (request.method == "HEAD" and method == "GET"):
        return answer()
    return _not_allowed(request, method)


def _not_allowed(request: Request, method: str) -> Response:
    response = error_response(405, f"{request.method} is not served here: use {method}")
    response.headers = (("Allow", "GET, HEAD" if method == "GET" else method),)
    return response


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(value))
