"""The file that says which endpoints run now: several `serving up` in several terminals share it.

Each supervisor adds its own endpoints and takes them out again at its end, under a lock. What a killed one left behind
is passed over, for its process is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson
import psutil

from contract import ENDPOINTS, StageError, to_json, write_whole
from serving.server import Endpoint

SUPERVISOR = "supervisor"
_FIELDS = tuple(field.name for field in fields(Endpoint))


def announce(endpoints: Sequence[Endpoint], path: Path = ENDPOINTS) -> None:
    """Add endpoints that this process looks after."""
    supervisor = {SUPERVISOR: _identity(os.getpid())}
    with _locked(path):
        _write(path, [*_rows(path), *(asdict(endpoint) | supervisor for endpoint in endpoints)])


def withdraw(path: Path = ENDPOINTS) -> None:
    """Take this process's endpoints out."""
    with _locked(path):
        _write(path, [row for row in _rows(path) if row.get(SUPERVISOR) != _identity(os.getpid())])


def read_running(path: Path = ENDPOINTS) -> list[Endpoint]:
    """The endpoints that run now; raises StageError where there are none."""
    endpoints = [Endpoint(**{name: row[name] for name in _FIELDS}) for row in _rows(path)]
    if not endpoints:
        raise StageError("nothing is running: start the servers with `make serve-all`")
    return endpoints


def _rows(path: Path) -> list[dict[str, Any]]:
    """What is in the file, but for the endpoints of supervisors that are gone; a row may have none."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = orjson.loads(path.read_bytes())
    return [row for row in rows if SUPERVISOR not in row or row[SUPERVISOR] == _identity(row[SUPERVISOR]["pid"])]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if rows:
        write_whole(path, to_json(rows).encode())
    else:
        path.unlink(missing_ok=True)


def _identity(pid: int) -> dict[str, float] | None:
    """A process by its number and its start, for numbers come again; None where it is gone."""
    try:
        return {"pid": pid, "started_s": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
