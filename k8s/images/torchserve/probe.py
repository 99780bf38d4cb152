"""Say whether TorchServe can answer: exit 0 when every model has as many READY workers as it asked for.

`/ping` answers as soon as the front end is up, before any worker has loaded its model. The management API knows
the workers, and it listens on loopback alone, so the probe runs inside the container. Standard library alone: it is run
often.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

MANAGEMENT = "http://127.0.0.1:8081/models"


def get(path: str) -> Any:
    """The JSON that the management API answers."""
    with urllib.request.urlopen(MANAGEMENT + path, timeout=4) as answer:  # noqa: S310
        return json.load(answer)


def waiting() -> list[str]:
    """What is not ready yet, a line each."""
    models = [model["modelName"] for model in get("")["models"]]
    problems = [] if models else ["no model is registered"]
    for name in models:
        model = get(f"/{name}")[0]
        ready = sum(worker["status"] == "READY" for worker in model["workers"])
        if ready < max(1, int(model["minWorkers"])):
            problems.append(f"{name}: {ready} of {model['minWorkers']} workers are READY")
    return problems


if __name__ == "__main__":
    try:
        problems = waiting()
    except (OSError, urllib.error.URLError, ValueError, KeyError) as error:
        problems = [f"no answer from {MANAGEMENT}: {error}"]
    print(*problems, sep="\n", file=sys.stderr)
    sys.exit(bool(problems))
