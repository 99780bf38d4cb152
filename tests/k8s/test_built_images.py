"""The images as the builder made them: user, labels, size, and what is not in them. Part of `make test-k8s`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from k8s.build import commit, list_images, reference, version

pytestmark = pytest.mark.cluster
LARGEST_ONNXRUNTIME_BYTES = 400e6
FORBIDDEN = "command -v gcc cc g++ make pip pip3; ls -d /root/.cache /tmp/.cache /opt/venv/bin/pip"


@pytest.mark.parametrize("name", list_images())
def test_image_is_small_labelled_and_has_no_tools(
    name: str, builder: str, images: dict[str, float], report: Callable[..., None]
) -> None:
    description = subprocess.run(
        (builder, "podman", "image", "inspect", reference(name)), capture_output=True, check=True
    ).stdout
    image = json.loads(description)[0]
    report(image_bytes={name: image["Size"]})
    assert image["Config"]["User"] == "10001:10001"
    assert image["Labels"]["org.opencontainers.image.version"] == version()
    assert image["Labels"]["org.opencontainers.image.revision"] == commit()
    assert image["Size"] < LARGEST_ONNXRUNTIME_BYTES or name != "onnxruntime"
    run = ("podman", "run", "--rm", "--network=none", "--read-only", "--entrypoint=sh", reference(name), "-c")
    assert subprocess.run((builder, *run, FORBIDDEN), capture_output=True).stdout == b""
