"""What every server in the registry has to do, whoever wrote it: each runs for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import StageError
from serving.client import PredictionError, check, predict
from serving.conformance.exchange import ask
from serving.conformance.runner import APIS
from serving.repository import read_samples
from serving.server import FAULTS, PROTOCOLS, find_server, list_servers

SERVERS = list_servers()
RunningServers = Callable[[str], Any]
PAIRS = [(name, protocol) for name in SERVERS for protocol in find_server(name).protocols]


def test_the_four_servers_are_listed() -> None:
    assert {"onnxruntime", "tflite", "tfserving", "torchserve"} <= set(SERVERS)


def test_unknown_server_is_refused_with_the_list() -> None:
    with pytest.raises(StageError, match="no server 'triton': choose from onnxruntime"):
        find_server("triton")


@pytest.mark.parametrize("name", SERVERS)
def test_server_declares_itself(name: str) -> None:
    server = find_server(name)
    assert server.name == name
    assert server.formats
    assert set(server.protocols) <= set(PROTOCOLS)
    assert {*server.protocols.values(), server.ready_port} <= set(server.ports)
    assert {*server.apis, *server.optional_apis} <= set(server.protocols)
    assert {*server.apis.values(), *server.optional_apis.values()} <= set(APIS)
    assert set(server.stands_in_for) <= set(server.engines)


@pytest.mark.parametrize("name", SERVERS)
def test_unknown_engine_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(StageError, match=f"{name} has no engine 'steam': choose from"):
        find_server(name).engine("steam")


@pytest.mark.parametrize("name", [name for name in SERVERS if "embedded" in find_server(name).engines])
@pytest.mark.parametrize("fault", FAULTS)
def test_embedded_server_can_be_started_for_every_fault(name: str, fault: str, tmp_path: Path) -> None:
    server = find_server(name)
    launch = server.launch_for_fault(fault, "mine", tmp_path, server.ports, tmp_path)
    assert launch is not None
    assert launch.argv[1:3] == ("-m", f"serving.servers.{name}")
    assert any(str(tmp_path) in argument for argument in launch.argv)


@pytest.mark.parametrize("name", [name for name in SERVERS if "embedded" in find_server(name).engines])
def test_embedded_server_tells_the_versions_that_it_serves(name: str, running_servers: RunningServers) -> None:
    server, (artifact, *_) = find_server(name), running_servers(name).artifacts
    port = next(e.port for e in running_servers(name).endpoints if e.protocol == server.ready_port)
    reply = ask(f"127.0.0.1:{port}", "GET", server.versions_call(artifact).path)
    assert server.served_versions(reply.body) == {"1"}


def test_default_ports_are_distinct() -> None:
    ports = [port for name in SERVERS for port in find_server(name).ports.values()]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
def test_endpoint_answers_batches_as_the_trained_model(
    name: str, protocol: str, running_servers: RunningServers
) -> None:
    server, samples = running_servers(name), read_samples()
    for endpoint in server.endpoints:
        if endpoint.protocol == protocol:
            for indices in ([0], [1, 2, 3], list(range(64))):
                check(endpoint, server.artifacts[endpoint.artifact], samples, indices)


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
def test_endpoint_refuses_a_wrong_shape_and_goes_on(name: str, protocol: str, running_servers: RunningServers) -> None:
    server, samples = running_servers(name), read_samples()
    endpoint = next(e for e in server.endpoints if e.protocol == protocol)
    manifest = server.artifacts[endpoint.artifact]
    with pytest.raises(PredictionError):
        predict(endpoint, manifest, {"image": np.zeros((1, 3, 5, 1), np.float32)})
    check(endpoint, manifest, samples, [5])


@pytest.mark.parametrize("name", SERVERS)
def test_unknown_artifact_is_refused(name: str, running_servers: RunningServers) -> None:
    server, samples = running_servers(name), read_samples()
    for endpoint in server.endpoints:
        manifest = server.artifacts[endpoint.artifact]
        unknown = type(endpoint)(endpoint.server, "no-such", endpoint.protocol, endpoint.port)
        with pytest.raises(PredictionError):
            predict(unknown, manifest, samples.take([0]))
