"""The Open Inference Protocol over HTTP: paths to answers.

GET  /v2, /v2/health/{live,ready}, /v2/models/{m}[/versions/{v}][/ready], /metrics
POST /v2/models/{m}[/versions/{v}]/infer, /v2/repository/index, /v2/repository/models/{m}/{load,unload}
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import orjson

from contract import TensorSpec
from serving.hosting.batcher import Outputs
from serving.hosting.metrics import Metrics
from serving.hosting.model_repository import ModelRepository
from serving.hosting.served_model import ServedModel
from serving.hosting.server_timing import ASKED, TOLD, server_timing, timing
from serving.hosting.signature import EXTENSIONS, PLATFORMS, Refusal, to_refusal
from serving.oip.json_request import Wants, parse_infer
from serving.oip.json_response import encode_answer
from serving.transport.compression import CompressionError, InflatedTooLargeError, inflate
from serving.transport.http1.messages import Request, Response

LIVE, READY = "/v2/health/live", "/v2/health/ready"
RETRY_AFTER_S = 1
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON_TYPES = ("application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain")
"""Content types of an infer request; the last two are what curl and simple clients send without being told."""
MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
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
        refusal = to_refusal(error)
        response = error_response(refusal.status, str(refusal))
        if refusal.status == 503:
            response.headers = (("Retry-After", str(RETRY_AFTER_S)),)
        return response


class RestApi:
    """An `http.Handler`."""

    def __init__(self, models: ModelRepository, metrics: Metrics, name: str, version: str, body_bytes: int) -> None:
        self._models = models
        self._metrics = metrics
        self._body_bytes = body_bytes
        self._metadata = {"name": name, "version": version, "extensions": list(EXTENSIONS)}
        self._infer_paths: dict[str, tuple[str, str | None]] = {}

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        found = self._infer_paths.get(request.target)
        if found is not None and request.method == "POST":
            return self._infer(request, *found)
        return self._route(request)

    def _route(self, request: Request) -> Answer:
        path = request.target.partition("?")[0]
        path = path.rstrip("/") or "/"
        simple = self._simple().get(path)
        if simple is not None:
            return _only(request, "GET", simple)
        if path == "/v2/repository/index":
            return _only(request, "POST", lambda: self._index(request))
        if (match := MODEL_PATH.fullmatch(path)) is not None:
            return self._route_model(request, unquote(match[1]), match[2] and unquote(match[2]), match[3])
        if (match := REPOSITORY_PATH.fullmatch(path)) is not None:
            name, change = unquote(match[1]), match[2]
            return _only(request, "POST", lambda: self._change(name, change))
        raise Refusal(404, f"no such path: {path[:200]}: see /v2 and the Open Inference Protocol")

    def _simple(self) -> dict[str, Callable[[], Answer]]:
        return {
            LIVE: lambda: _json({"live": True}),
            READY: lambda: _json({"ready": self._models.ready}, 200 if self._models.ready else 503),
            "/v2": lambda: _json(self._metadata),
            "/metrics": lambda: Response(200, self._metrics.text().encode(), METRICS_TYPE),
        }

    def _route_model(self, request: Request, name: str, version: str | None, verb: str | None) -> Answer:
        if verb == "infer":
            if request.method == "POST" and len(self._infer_paths) < 1000:
                self._models.find(name, version)
                self._infer_paths[request.target] = (name, version)
            return _only(request, "POST", lambda: self._infer(request, name, version))
        if verb == "ready":
            return _only(request, "GET", lambda: self._model_ready(name, version))
        return _only(request, "GET", lambda: _json(model_metadata(self._models, name, version)))

    def _model_ready(self, name: str, version: str | None) -> Response:
        hosted = self._models.find(name, version)
        return _json({"name": hosted.name, "ready": self._models.ready}, 200 if self._models.ready else 503)

    # inference

    def _infer(self, request: Request, name: str, version: str | None) -> Answer:
        hosted = self._models.find(name, version)
        try:
            headers = request.headers
            if "content-encoding" in headers:
                request.body = _inflate(request.body, headers["content-encoding"], self._body_bytes)
            _check_content_type(headers.get("content-type", ""))
            infer = parse_infer(request.body, headers.get("inference-header-content-length"), hosted.signature)
            timeout_us = infer.wants.parameters.get("timeout")
            deadline_s = request.arrival_s + deadline_of(timeout_us) if timeout_us else None
            answer = _Answer(request, infer.wants, hosted)
            return hosted.batcher.submit(infer.inputs, deadline_s, answer)
        except Exception as error:
            hosted.metrics.count(to_refusal(error).status)
            raise

    # the repository extension

    def _index(self, request: Request) -> Response:
        only_ready = False
        if request.body.strip():
            try:
                wanted = orjson.loads(request.body)
            except orjson.JSONDecodeError as error:
                raise Refusal(400, f"the request is not JSON: {error}") from None
            if not isinstance(wanted, dict):
                raise Refusal(400, "the request must be a JSON object")
            only_ready = wanted.get("ready") is True
        rows = self._models.index()
        return _json([row for row in rows if row["state"] == "READY" or not only_ready])

    async def _change(self, name: str, change: str) -> Response:
        await (self._models.load(name) if change == "load" else self._models.unload(name))
        return Response(200)


class _Answer:
    """Turns the outputs of a run into the response to one request; a `then` of the batcher."""

    __slots__ = ("hosted", "request", "wants")

    def __init__(self, request: Request, wants: Wants, hosted: ServedModel) -> None:
        self.request = request
        self.wants = wants
        self.hosted = hosted

    def __call__(self, outputs: Outputs) -> Response:
        hosted, wants = self.hosted, self.wants
        head: dict[str, Any] = {"model_name": hosted.name, "model_version": hosted.version}
        if wants.id is not None:
            head["id"] = wants.id
        headers: tuple[tuple[str, str], ...] = ()
        if ASKED in self.request.headers:
            headers = ((TOLD, server_timing(outputs)),)
        if wants.parameters.get("server_timing"):
            head["parameters"] = timing(outputs)
        try:
            body, json_bytes = encode_answer(head, outputs, wants, hosted.signature)
        except Refusal as refusal:
            hosted.metrics.count(refusal.status)
            raise
        hosted.metrics.count(200)
        hosted.metrics.request.observe(time.perf_counter() - self.request.arrival_s)
        if json_bytes is None:
            return Response(200, body, headers=headers)
        length = ("Inference-Header-Content-Length", str(json_bytes))
        return Response(200, body, "application/octet-stream", (length, *headers))


def model_metadata(models: ModelRepository, name: str, version: str | None) -> dict[str, Any]:
    """A model's metadata as both wire formats tell it."""
    hosted = models.find(name, version)
    return {
        "name": name,
        "versions": models.versions(name),
        "platform": PLATFORMS.get(hosted.format, hosted.format),
        "inputs": [_described(spec) for spec in hosted.signature.inputs.values()],
        "outputs": [_described(spec) for spec in hosted.signature.outputs.values()],
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def deadline_of(timeout_us: Any) -> float:
    """The `timeout` parameter, microseconds, in seconds."""
    if type(timeout_us) is not int or timeout_us < 0:
        raise Refusal(400, f"the parameter timeout must be a number of microseconds, got: {timeout_us!r}")
    return timeout_us * 1e-6


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """A compressed body's content, at most `limit` bytes."""
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in reversed(names):
        if name in ("gzip", "x-gzip", "deflate"):
            try:
                body = inflate(body, limit)
            except CompressionError as error:
                raise Refusal(400, f"the body is not one whole {name} stream: {error}") from None
            except InflatedTooLargeError as error:
                raise Refusal(413, f"the body has {error}") from None
        elif name not in ("", "identity"):
            raise Refusal(415, f"unknown Content-Encoding {name!r}: identity, gzip and deflate are known")
    return body


def _check_content_type(value: str) -> None:
    kind = value.partition(";")[0].strip().lower()
    if kind and kind not in JSON_TYPES and not kind.endswith("+json"):
        raise Refusal(415, f"Content-Type {kind!r} is not served: use application/json or application/octet-stream")


def _only(request: Request, method: str, answer: Callable[[], Answer]) -> Answer:
    if request.method == method or (request.method == "HEAD" and method == "GET"):
        return answer()
    response = error_response(405, f"{request.method} is not served here: use {method}")
    response.headers = (("Allow", "GET, HEAD" if method == "GET" else method),)
    return response


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(value))
