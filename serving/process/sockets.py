"""Sockets that servers of our own listen on, and the files of their TLS; imports nothing that starts threads."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from contract import StageError


def bound_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """A TCP socket bound to `host:port`, not yet listening; `shared` lets several processes bind the same port.

    Raises StageError where the port is taken.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StageError(f"can't listen on {host}:{port}: {error.strerror}: choose another port") from None
    return bound


def bound_unix_socket(path: str) -> socket.socket:
    """A socket bound to a path of the file system, not yet listening; one that a dead server left there is replaced.

    Raises StageError where something else is there.
    """
    bound = socket.socket(socket.AF_UNIX)
    try:
        if stat.S_ISSOCK(Path(path).lstat().st_mode):
            Path(path).unlink()
    except FileNotFoundError:
        pass
    try:
        bound.bind(path)
    except OSError as error:
        bound.close()
        raise StageError(f"can't listen on {path}: {error.strerror}: choose another path") from None
    return bound


def check_pair(certificate: Path | None, key: Path | None, names: tuple[str, str]) -> None:
    """Raise StageError unless both files of TLS are given and there, or neither is; `names` are their options."""
    if (certificate is None) != (key is None):
        raise StageError(f"{names[0]} and {names[1]} go together: give both")
    for path in filter(None, (certificate, key)):
        if not path.is_file():
            raise StageError(f"no file {path}: give {names[0]} and {names[1]} PEM files")
