"""A plain Locust `FastHttpUser` loop, what others would write: the baseline of `client_speed`.

python -m loadtest.generator.fast_http_user PORT USERS SECONDS PATH BODY_BYTES
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment


class PlainUser(FastHttpUser):
    """Posts the same body again and again."""

    path: str = "/"
    body: Any = b""

    @task
    def post(self) -> None:
        """Send one request."""
        self.client.post(self.path, data=self.body, headers={"Content-Type": "application/json"})


def main() -> int:
    """Run the users for some seconds; print requests per second and the share of a core."""
    port, users, seconds, path, size = sys.argv[1:]
    PlainUser.host, PlainUser.path, PlainUser.body = f"http://127.0.0.1:{port}", path, b"0" * int(size)
    environment = Environment(user_classes=[PlainUser], events=events)
    runner = environment.create_local_runner()
    runner.start(int(users), spawn_rate=100)
    gevent.sleep(1.0)
    before, cpu_s, started_s = environment.stats.total.num_requests, time.process_time(), time.perf_counter()
    gevent.sleep(float(seconds))
    done = environment.stats.total.num_requests - before
    cpu_s, elapsed_s = time.process_time() - cpu_s, time.perf_counter() - started_s
    failed = environment.stats.total.num_failures
    runner.quit()
    print(json.dumps({"rps": done / elapsed_s, "cpu_share": cpu_s / elapsed_s, "failures": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
