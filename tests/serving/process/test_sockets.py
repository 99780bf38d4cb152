"""Sockets to listen on, and the words where there is none."""

from __future__ import annotations

import socket

import pytest

from contract import StageError
from serving.process.sockets import bound_socket


@pytest.mark.parametrize("host", ["nosuchhost.invalid", "203.0.113.1"])
def test_host_of_no_address_here_is_named_with_the_option(host: str) -> None:
    with pytest.raises(StageError, match=rf"^can't listen on {host}:0: .*: give --host an address of this machine$"):
        bound_socket(host, 0, shared=False)


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=rf"^can't listen on 127.0.0.1:{port}: .*in use: choose another port$"):
            bound_socket("127.0.0.1", port, shared=False)


def test_port_is_shared_where_that_is_wanted() -> None:
    with bound_socket("127.0.0.1", 0, shared=True) as first:
        bound_socket("127.0.0.1", first.getsockname()[1], shared=True).close()
