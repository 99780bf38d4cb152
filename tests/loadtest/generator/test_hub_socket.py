"""The generator's own socket, in a process that Locust has patched: answers, ends, time-outs, kills."""

from __future__ import annotations

import subprocess
import sys

import pytest

from contract import ROOT

BEFORE = """
import locust, gevent, socket, time
from loadtest.generator.hub_socket import HubSocket
listener = socket.create_server(("127.0.0.1", 0))
def connected(timeout_s=5.0):
    quick = HubSocket(listener.getsockname(), timeout_s)
    return quick, listener.accept()[0]
"""
CASES = {
    "large messages both ways": """
quick, peer = connected()
def echo():
    got = b""
    while len(got) < 5_000_000: got += peer.recv(65536)
    peer.sendall(got)
gevent.spawn(echo)
sent = bytes(range(250)) * 20_000
quick.sendall(sent)
got = b""
while len(got) < len(sent): got += quick.recv(65536)
assert got == sent
""",
    "an end while nobody waits is noticed": """
quick, peer = connected()
assert not quick.unread
peer.close(); gevent.sleep(0.05)
assert quick.unread
assert quick.recv(10) == b""
""",
    "what came unasked is read, and the next wait works": """
quick, peer = connected()
peer.sendall(b"farewell"); gevent.sleep(0.05)
assert quick.unread and quick.recv(100) == b"farewell" and not quick.unread
gevent.spawn_later(0.05, peer.sendall, b"next")
assert quick.recv(100) == b"next"
""",
    "a wait that is too long ends with a TimeoutError": """
quick, peer = connected(timeout_s=0.5)
try: quick.recv(1)
except TimeoutError as error: assert str(error) == "no answer within 0.5 s"
else: raise AssertionError
""",
    "a killed user leaves nothing behind": """
quick, peer = connected()
waiting = gevent.spawn(quick.recv, 1)
gevent.sleep(0.02); waiting.kill()
peer.sendall(b"x"); gevent.sleep(0.05)
assert quick.unread and quick.recv(1) == b"x"
quick.close(); gevent.sleep(0.02)
""",
}


@pytest.mark.parametrize("case", list(CASES))
def test_quick_socket(case: str) -> None:
    done = subprocess.run(
        (sys.executable, "-c", BEFORE + CASES[case]), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
