"""Holds `compose.yaml`, the images and the server registry together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from contract import ROOT
from k8s.build import reference
from serving.server import find_server, list_servers

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_every_server_and_locust_are_there() -> None:
    assert set(SERVICES) == {*list_servers(), "models", "locust"}


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_the_one_that_is_built(name: str) -> None:
    image = SERVICES[name]["image"].replace("${TFSERVING_IMAGE:-", "").rstrip("}")
    assert image == reference("loadtest" if name == "locust" else name)


@pytest.mark.parametrize("name", list_servers())
def test_ports_are_the_registrys_on_loopback(name: str) -> None:
    ports = dict(line.removeprefix("127.0.0.1:").split(":") for line in SERVICES[name]["ports"])
    assert all(line.startswith("127.0.0.1:") for line in SERVICES[name]["ports"])
    assert all(outside == inside for outside, inside in ports.items())
    served = {str(find_server(name).ports[port]) for port in find_server(name).protocols.values()}
    assert served <= set(ports) <= {str(port) for port in find_server(name).ports.values()}


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "models"])
def test_service_is_locked_down_and_waits_for_checked_models(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "10001:10001"
    assert set(service["depends_on"]) & {"models", "onnxruntime"}
