"""Servers are up together as far as memory allows, and in groups where it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from loadtest.runs.managed_servers import ManagedServer, Memory, started_groups
from serving.server import Endpoint

GIB = 2**30


class Taken:
    """The memory of a machine on which every start takes a gibibyte."""

    def __init__(self, total_gib: float) -> None:
        self.total, self.servers, self.phase = int(total_gib * GIB), 0, 0

    def free(self) -> None:
        """The group is stopped."""
        self.servers, self.phase = 0, 0

    def look(self) -> Memory:
        """Looks come in threes: before a start, after it, and whether another server fits."""
        phase, self.phase = self.phase, (self.phase + 1) % 3
        self.servers += phase == 1
        return SimpleNamespace(total=self.total, available=self.total - self.servers * GIB)


@pytest.mark.parametrize(("total_gib", "sizes"), [(64.0, [4]), (5.0, [3, 1]), (2.0, [1, 1, 1, 1])])
def test_servers_that_do_not_fit_together_make_groups(total_gib: float, sizes: list[int], tmp_path: Path) -> None:
    servers = [
        ManagedServer(name, [Endpoint(name, "a", "rest", 1, "127.0.0.1", "embedded")]) for name in ("p", "q", "r", "s")
    ]
    taken = Taken(total_gib)
    groups = []
    for group in started_groups(servers, tmp_path, None, taken.look):
        groups.append([server.name for server in group.servers])
        taken.free()
    assert [name for group in groups for name in group] == ["p", "q", "r", "s"]
    assert [len(group) for group in groups] == sizes
