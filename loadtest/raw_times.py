"""The raw times of a run, one row a request: reads and writes the `.npz` beside a result.

Columns: `intended_us`, `sent_us`, `done_us` (float64, microseconds from the zero of the row's block: what leads in is
negative), `outcome` (uint8), `user` (uint16, who sent it; 0 for a schedule), `block` (uint16, the block's number).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

RIGHT, WRONG, FAILED = 0, 1, 2
"""What came of a request: a right answer, a wrong one, none."""

Table = dict[str, np.ndarray]


def write_raw(path: Path, table: Table) -> None:
    """Write the rows beside their result, as `.npz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **table)


def read_raw(path: Path) -> Table:
    """The rows that `write_raw` wrote."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
