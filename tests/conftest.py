"""Holds for the whole suite: the frameworks never share a process, not even this one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def frameworks_stay_apart() -> Iterator[None]:
    """Fail at the end of the session if tests imported both frameworks here: they belong in processes of their own."""
    yield
    assert not {"tensorflow", "torch"} <= set(sys.modules), (
        "tensorflow and torch were both imported by the test process"
    )
