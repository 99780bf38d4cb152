"""TensorFlow Serving's REST API over `serving.transport.http1.server`.

Source of the behaviour: model_servers/{http_server,http_rest_api_handler,http_rest_api_util}.cc of
github.com/tensorflow/serving; the pages in HTML are libevent's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import numpy as np

from contract import Tensors
from serving.hosting.batcher import Outputs
from serving.hosting.server_timing import REQUEST_HEADER, RESPONSE_HEADER, server_timing
from serving.servers.tfserving.api import examples
from serving.servers.tfserving.api.inference import Caller, Inference
from serving.servers.tfserving.api.metadata import metadata_json, status_json
from serving.servers.tfserving.json_codec import predict, predict_fast, responses
from serving.servers.tfserving.model.execution import status_of
from serving.servers.tfserving.model.servable import Servable
from serving.servers.tfserving.model.signatures import Signature
from serving.servers.tfserving.model.versions import Library
from serving.servers.tfserving.status import Status, invalid
from serving.transport.compression import GZIP, CompressionError, InflatedTooLargeError, inflate
from serving.transport.http1.messages import Request, Response
from serving.transport.offload import LONG_BYTES, run_long

_PREDICTION = re.compile(
    r"(?i)/v1/models/([^/:]+)(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)"
)
_STATUS = re.compile(r"(?i)/v1/models(?:/([^/:]+))?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(?:/(metadata))?")
_API = re.compile(r"(?i)/v1/")
_NOT_A_URI = re.compile(r"%(?![0-9a-fA-F]{2})|[^\x21-\x7e]")
_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")
_HTML = "<HTML><HEAD>\n<TITLE>{0} {1}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"
CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
Headers = tuple[tuple[str, str], ...]
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
INFLATED_BYTES = 100 * 2**20
SLOW_BYTES = 1 << 15
"""A body from here on that `predict_fast` leaves to `predict` is read in a thread."""
MAX_ROUTES = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """What a request target names."""

    verb: str
    """predict, classify, regress, metadata or status."""
    name: str
    version: int | None
    label: str | None


class RestApi:
    """Answers HTTP requests."""

    def __init__(
        self, library: Library, inference: Inference, timeout_s: float, metrics_path: str | None, cors: bool
    ) -> None:
        self._library = library
        self._inference = inference
        self._timeout_s = timeout_s
        self._metrics_path = metrics_path
        self._headers = CORS if cors else ()
        self._routes: dict[str, Route] = {}

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """A `serving.transport.http1.server.Handler`."""
        route = self._routes.get(request.target) if request.method == "POST" else None
        if route is None:
            page = self._page(request)
            if page is not None:
                return page
        try:
            route = route or self._route(request)
            if route.verb in ("status", "metadata"):
                return self._describe(route, request)
            is_gzip = request.headers.get("content-encoding") == "gzip"  # in lower case only, others are ignored
            if is_gzip or len(request.body) >= LONG_BYTES:
                return self._infer_long(route, request, is_gzip=is_gzip)
            return self._infer(route, request)
        except Status as error:
            return self.refuse(error, request, route)

    def refuse(self, error: BaseException, request: Request, route: Route | None = None) -> Response:
        """The answer to a request that failed; counts it for its model, where it named one."""
        status = status_of(error)
        route = route or self._routes.get(request.target)
        self._inference.telemetry.count("request_count", route.name if route else "", status.code)
        retry = (("Retry-After", "1"),) if status.http == 503 else ()
        return Response(status.http, responses.error_body(status.message), headers=self._headers + retry)

    def refusal(self, status: int, reason: str, request: Request | None) -> Response:
        """The answer to what isn't HTTP, or too much of it: an HTML page, as libevent writes them. A request that may
        not be made is answered in JSON.
        """
        if request is None:
            return html_page(status)
        return Response(status, responses.error_body(reason))

    def failure(self, error: BaseException, request: Request) -> Response:
        """The answer to what a handler raised."""
        return self.refuse(error, request)

    # routing

    def _page(self, request: Request) -> Response | None:
        """The answer to what isn't meant for the API, or None."""
        target = request.target
        if request.method not in _METHODS:
            return html_page(501)
        if _NOT_A_URI.search(target):
            return html_page(400)
        path = target.partition("?")[0]
        if self._metrics_path is not None and path == self._metrics_path:
            if path != target:
                text = f"Unexpected path: {target}. Should be {self._metrics_path}"
                return Response(400, text.encode(), "text/plain")
            return Response(200, self._inference.telemetry.page(), "text/plain")
        if not _API.match(target):
            return html_page(404)
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            known = "http://" in origin or "https://" in origin
            return Response(200 if known else 400, b"", "text/html; charset=ISO-8859-1", self._headers)
        return None

    def _route(self, request: Request) -> Route:
        """The parsed target; raises Status where it is none of the API's."""
        method, target = request.method, request.target
        match = {"POST": _PREDICTION, "GET": _STATUS}[method].fullmatch(target) if method in ("POST", "GET") else None
        if match is None:
            raise invalid(f"Malformed request: {method} {target}")
        name, version, label, verb = match.groups()
        number = None if version is None else _int64(version)
        if method == "GET":
            if not name:
                raise invalid("Missing model name in request.")
            verb = "metadata" if verb == "metadata" else "status"
        elif verb not in ("predict", "classify", "regress"):
            raise invalid(f"Malformed request: {method} {target}")
        route = Route(verb, _decoded(name), number, None if label is None else _decoded(label))
        if method == "POST" and len(target) < 256:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.pop(next(iter(self._routes)))
            self._routes[target] = route
        return route

    # answers

    def _describe(self, route: Route, request: Request) -> Response:
        if route.verb == "status":
            body = status_json(self._library.states(route.name, route.version))
        else:
            body = metadata_json(self._library.find(route.name, route.version, route.label))
        self._inference.succeeded(route.name, "", self._caller("", request))
        return Response(200, body, headers=self._headers)

    def _caller(self, api: str, request: Request) -> Caller:
        deadline_s = request.arrival_s + self._timeout_s if self._timeout_s > 0 else None
        return Caller("REST", api, request.arrival_s, deadline_s)

    async def _infer_long(self, route: Route, request: Request, *, is_gzip: bool = False) -> Response:
        """The same for bodies that take long to read or have to be inflated."""
        body = await run_long(_inflate, request.body) if is_gzip else request.body
        if route.verb == "predict":
            return await self._predict(route, request, *await run_long(self._read, route, body))
        return await self._infer_examples(route, request, *await run_long(examples.read_examples, body))

    def _infer(self, route: Route, request: Request) -> Awaitable[Response]:
        body = request.body
        if route.verb == "predict":
            usual = predict_fast.read_predict(body, self._finder(route))
            if usual is None and len(body) >= SLOW_BYTES:
                return self._infer_long(route, request)
            return self._predict(route, request, *(usual or predict.read_predict(body, self._finder(route))))
        if len(body) >= SLOW_BYTES:
            return self._infer_long(route, request)
        return self._infer_examples(route, request, *examples.read_examples(body))

    def _infer_examples(self, route: Route, request: Request, name: str, rows: np.ndarray) -> Awaitable[Response]:
        """Classify or regress."""
        servable = self._library.find(route.name, route.version, route.label)
        signature = servable.example_signature(name)
        if route.verb == "classify":
            wanted, write = examples.classify_outputs(signature), _classifications
        else:
            wanted, write = examples.regress_outputs(signature), _regressions

        def answer(outputs: Outputs, count: int) -> Response | asyncio.Future[Response]:
            return self._respond(partial(write, outputs, count), outputs, request)

        caller = self._caller(route.verb, request)
        return self._inference.examples(servable, signature, rows, caller, wanted, answer)

    def _respond(
        self, write: Callable[[], bytes], outputs: Outputs, request: Request
    ) -> Response | asyncio.Future[Response]:
        """The response with what `write` makes, of large outputs in a thread."""
        headers = self._headers
        if REQUEST_HEADER in request.headers:
            headers = (*headers, (RESPONSE_HEADER, server_timing(outputs)))
        if outputs.size_bytes >= LONG_BYTES:
            return run_long(lambda: Response(200, write(), headers=headers))
        return Response(200, write(), headers=headers)

    def _finder(self, route: Route) -> Callable[[str], Signature]:
        return lambda name: self._library.find(route.name, route.version, route.label).rest_signature(name)

    def _read(self, route: Route, body: bytes | memoryview) -> predict.Request:
        """Tensors from a predict body; called in a thread."""
        find = self._finder(route)
        return predict_fast.read_predict(body, find) or predict.read_predict(body, find)

    def _predict(
        self, route: Route, request: Request, signature: Signature, tensors: Tensors, by_rows: bool
    ) -> Awaitable[Response]:
        servable: Servable = self._library.find(route.name, route.version, route.label)
        write = responses.predictions if by_rows else responses.columns

        def answer(outputs: Outputs) -> Response | asyncio.Future[Response]:
            return self._respond(partial(write, outputs), outputs, request)

        if signature is not servable.session.signatures.get(signature.name):
            signature = servable.rest_signature(signature.name)  # swapped while the body was read
        return self._inference.predict(servable, signature, tensors, self._caller("predict", request), answer)


def _classifications(outputs: Outputs, count: int) -> bytes:
    return responses.classifications(*examples.check_classes(outputs, count), count)


def _regressions(outputs: Outputs, count: int) -> bytes:
    return responses.regressions(examples.check_values(outputs, count))


def _int64(digits: str) -> int:
    """A version; raises Status beyond 64 bits, however many digits that takes."""
    significant = digits.lstrip("0") or "0"
    if len(significant) > 19 or int(significant) >= 2**63:
        raise invalid(f"Failed to convert version: {digits} to numeric.")
    return int(significant)


def html_page(status: int) -> Response:
    """One of libevent's error pages, after which it closes."""
    phrase = _PHRASES.get(status, "Error")
    return Response(status, _HTML.format(status, phrase).encode(), "text/html", close=True)


def _inflate(body: bytes) -> bytes:
    """A gzip body's content; nothing where it is no whole single member, or more than 100 MiB."""
    try:
        return inflate(body, INFLATED_BYTES, GZIP)
    except (CompressionError, InflatedTooLargeError):
        return b""


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
