"""The suite against real servers, against one that lies, and its command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from serving.__main__ import main as run_serving
from serving.conformance.__main__ import main
from serving.conformance.endpoints import examine
from serving.conformance.matrix import matrix, summary
from serving.conformance.runner import run
from serving.conformance.signature import find_subject
from serving.server import find_server, list_servers


def failed(verdicts, level):
    return [
        f"{v.endpoint} {v.api}: {c.name}: {c.observed}"
        for v in verdicts
        for c in v.cases
        if (c.level, c.outcome) == (level, "fail")
    ]


@pytest.mark.parametrize("name", list_servers())
def test_our_endpoints_do_what_their_protocol_demands(running_servers, name):
    server = running_servers(name)
    verdicts = [v for v in examine(server.endpoints) if name != "torchserve" or v.api == "torchserve"]
    assert failed(verdicts, "MUST") == []
    assert all(verdict.count("MUST", "pass") >= 8 for verdict in verdicts)


@pytest.mark.parametrize("name", [name for name in list_servers() if "grpc" in find_server(name).apis])
def test_our_own_servers_do_what_they_should(running_servers, name):
    assert failed(examine(running_servers(name).endpoints), "SHOULD") == []


@pytest.fixture(scope="module")
def liar() -> Iterator[str]:
    """A server that answers 200 and the same JSON to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b'{"id": 1, "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1]}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names are those of http.server

        def log_message(self, *ignored):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_lies_is_found_out(liar):
    subject = find_subject("oip-rest", liar, "", "pytorch-onnx")
    verdict = run("oip-rest", subject, "liar")
    outcomes = {case.name: case.outcome for case in verdict.cases}
    assert outcomes["The id of a request comes back in its answer"] == "fail"
    assert outcomes["A body that is no JSON is refused with a key error"] == "fail"
    assert outcomes["The answer is the one that the model repository expects"] == "fail"
    assert outcomes["GET /v2/health/live answers 200"] == "pass"
    assert (
        outcomes["Binary inputs get the same answer as JSON inputs, in JSON where nothing else is asked for"]
        == "not applicable"
    )


def test_command_prints_the_matrix_and_exits_1_where_a_must_fails(liar, capsys, tmp_path):
    path = tmp_path / "verdicts.json"
    argv = ["--url", f"http://{liar}", "--api", "oip-rest", "--artifact", "pytorch-onnx", "--json", str(path)]
    assert main(argv) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed
    assert "The id of a request comes back in its answer" in printed
    (verdict,) = json.loads(path.read_text())
    assert {"endpoint", "api", "engine", "cases"} <= verdict.keys()
    assert {"name", "level", "source", "outcome", "observed"} == verdict["cases"][0].keys()


def test_command_exits_0_where_every_must_holds(running_servers, capsys):
    endpoint = next(e for e in running_servers("onnxruntime").endpoints if e.protocol == "grpc")
    assert main(["--url", endpoint.address, "--api", "oip-grpc", "--artifact", endpoint.artifact, "--failures"]) == 0
    assert "no case failed" in capsys.readouterr().out


def test_a_model_is_described_by_its_server_where_no_repository_is(running_servers, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.conformance.signature.MODEL_REPOSITORY", tmp_path)
    endpoint = running_servers("onnxruntime").endpoints[0]
    subject = find_subject("oip-rest", endpoint.address, "", endpoint.artifact)
    assert subject.expected is None
    assert {name: array.shape[0] for name, array in subject.inputs.items()} == {subject.first.name: 2}
    assert failed([run("oip-rest", subject, endpoint.name)], "MUST") == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--url", "http://127.0.0.1:9", "--api", "oip-rest", "--artifact", "nosuch"], "start the server"),
        (["--url", "127.0.0.1:9", "--api", "oip-grpc", "--artifact", "nosuch"], "start the server"),
        (["--url", "http://nowhere", "--api", "oip-rest", "--artifact", "nosuch"], "has no host and port"),
        (["--url", "http://127.0.0.1:9", "--api", "torchserve", "--artifact", "nosuch"], "give --repository"),
    ],
)
def test_command_says_why_a_server_can_not_be_asked(capsys, argv, message):
    assert main(argv) == 2
    assert message in capsys.readouterr().err


def test_matrix_has_a_column_for_each_endpoint(liar):
    subject = find_subject("oip-rest", liar, "", "pytorch-onnx")
    verdicts = [run("oip-rest", subject, name, "embedded") for name in ("one", "two")]
    assert matrix(verdicts).splitlines()[0] == "oip-rest: (1) one, (2) two"
    assert matrix(verdicts).splitlines()[2].split()[1:3] == ["-", "-"]
    assert [line.split()[:3] for line in summary(verdicts).splitlines()[1:]] == [
        ["one", "embedded", "oip-rest"],
        ["two", "embedded", "oip-rest"],
    ]


def test_serving_passes_flags_on_to_the_suite(capsys):
    argv = ["conformance", "--url", "http://127.0.0.1:9", "--api", "oip-rest", "--artifact", "nosuch"]
    assert run_serving(argv) == 2
    assert "start the server" in capsys.readouterr().err


def test_command_starts_a_server_and_stops_it_again(tmp_path, capsys):
    before = set(psutil.Process().children(recursive=True))
    assert main(["--start", "tflite", "--failures", "--json", str(tmp_path / "verdicts.json")]) == 0
    assert {v["api"] for v in json.loads((tmp_path / "verdicts.json").read_text())} == {"oip-rest", "oip-grpc"}
    assert set(psutil.Process().children(recursive=True)) <= before


def test_command_refuses_a_server_that_is_not_ours(capsys):
    assert main(["--start", "nosuch"]) == 2
    assert "no server 'nosuch': choose from" in capsys.readouterr().err
