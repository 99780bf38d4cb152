"""Sockets that servers of our own listen on, and the files of their TLS; imports nothing that starts threads."""

from __future__ import annotations

import errno
import socket
import stat
from pathlib import Path

from contract import StageError

REMEDIES = {
    errno.EADDRNOTAVAIL: "give --host an address of this machine",
    errno.EACCES: "choose a port from 1024 on",
}
"""What mends a refusal of the system."""


def bound_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """A TCP socket bound to `host:port`, not yet listening; `shared` lets several processes bind the same port.

    Raises StageError where the host or the port can't be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    where = f"{host}:{port}"
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except socket.gaierror as error:
        bound.close()
        raise StageError(f"can't listen on {where}: {error.strerror}: give --host an address of this machine") from None
    except OSError as error:
        bound.close()
        remedy = REMEDIES.get(error.errno or 0, "choose another port")
        raise StageError(f"can't listen on {where}: {error.strerror}: {remedy}") from None
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
