"""The schedule of a comparison, `schedule.json`: how many blocks of which length every endpoint gets in each start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from contract import to_json, write_whole
from loadtest.analysis.schema import OpenLoad
from loadtest.fields import read_fields


@dataclass(frozen=True)
class Blocks:
    """The blocks of an endpoint under a scenario in one start; none has a reason."""

    scenario: str
    seconds: float
    rate_rps: float
    """Of an open scenario, else 0."""
    lead_in_s: float
    count: int
    reason: str = ""


@dataclass(frozen=True)
class Schedule:
    """The blocks of every endpoint, the same in every start."""

    starts: int
    open_load: OpenLoad | None
    blocks: dict[str, tuple[Blocks, ...]]
    """By endpoint."""
    groups: tuple[tuple[str, ...], ...] = ()
    """Servers that are up together."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The schedule in `path`, None where there is none yet."""
        return read_fields(cls, json.loads(path.read_bytes())) if path.is_file() else None

    def write(self, path: Path) -> None:
        """Write `path` whole."""
        write_whole(path, to_json(asdict(self)).encode())

    @property
    def count(self) -> int:
        """Blocks of one start."""
        return sum(blocks.count for endpoint in self.blocks.values() for blocks in endpoint)
