"""Every overlay against the schemas of three Kubernetes versions, strictly: an unknown field or kind is a failure."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

VERSIONS = ("1.28", "1.32", kubernetes_validate.latest_version())


@pytest.mark.parametrize("version", VERSIONS)
def test_overlay_is_valid(version: str, manifests: tuple[dict[str, Any], ...]) -> None:
    assert manifests
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_validation_refuses_an_unknown_field(base: list[dict[str, Any]]) -> None:
    deployment = next(m for m in base if m["kind"] == "Deployment")
    spoiled = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(spoiled, VERSIONS[0], strict=True)
