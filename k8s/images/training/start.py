"""Join a worker of a distributed training to the others: `start.py tensorflow|pytorch [the twin's flags]`.

Reads JOB_COMPLETION_INDEX, which an Indexed Job gives each of its pods, and WORKERS; the pods find each other at
`<service>-<index>.<service>`, the service being `training-<framework>`. Writes
`<ARTIFACTS_DIR>/mnist/models/<framework>/`. The first worker then waits for the file `<ARTIFACTS_DIR>/collected`,
COLLECT_S seconds at most: the model is fetched from its pod.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from contract import ARTIFACTS, FRAMEWORKS, MODELS, StageError

PORT = 29500
MEET_S = 300.0
"""How long a worker waits for the others' pods to get their names."""


def hosts(framework: str, workers: int) -> list[str]:
    """The names of all workers' pods, in the order of their index."""
    service = f"training-{framework}"
    return [f"{service}-{index}.{service}" for index in range(workers)]


def command(framework: str, index: int, workers: int, flags: list[str]) -> tuple[list[str], dict[str, str]]:
    """The command line of a worker and the variables that name the others."""
    names = hosts(framework, workers)
    twin = ["-m", f"training.train_{framework}", *flags]
    if framework == "tensorflow":
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": [f"{name}:{PORT}" for name in names]}, "task": task}
        return [sys.executable, *twin], {"TF_CONFIG": json.dumps(config)}
    shape = [f"--nnodes={workers}", f"--node-rank={index}", "--nproc-per-node=1"]
    meet = [f"--master-addr={names[0]}", f"--master-port={PORT}"]
    return [sys.executable, "-m", "torch.distributed.run", *shape, *meet, *twin], {}


def wait_for_names(names: list[str], resolve: Callable[[str, None], object] = socket.getaddrinfo) -> None:
    """Return once every name has an address; raises StageError with those that have none in time."""
    deadline_s = time.monotonic() + MEET_S
    waiting = list(names)
    while waiting:
        try:
            resolve(waiting[0], None)
        except OSError as error:
            if time.monotonic() > deadline_s:
                reason = f"no address of {waiting[0]} after {MEET_S:.0f} s ({error}): is its pod there?"
                raise StageError(reason) from None
            time.sleep(0.5)
            continue
        del waiting[0]


def wait_until_collected(environ: Mapping[str, str] = os.environ) -> None:
    """Keep the pod, and with it the model, until it was fetched."""
    deadline_s = time.monotonic() + float(environ.get("COLLECT_S", "600"))
    (ARTIFACTS / "complete").touch()
    while not (ARTIFACTS / "collected").exists() and time.monotonic() < deadline_s:
        time.sleep(0.5)


def main(argv: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run this worker to its end."""
    if not argv or argv[0] not in FRAMEWORKS:
        raise StageError(f"start.py {' '.join(argv)}: the first word has to be {' or '.join(FRAMEWORKS)}")
    framework, workers = argv[0], int(environ.get("WORKERS", "1"))
    if (index := environ.get("JOB_COMPLETION_INDEX")) is None:
        raise StageError("no JOB_COMPLETION_INDEX: run this in an Indexed Job, or set which worker this is (0, 1, …)")
    words, variables = command(framework, int(index), workers, argv[1:])
    wait_for_names(hosts(framework, workers))
    done = subprocess.run(words, env={**environ, **variables}, check=False)
    manifest = MODELS / framework / "manifest.json"
    if done.returncode == 0 and index == "0":
        print(manifest.read_text(), flush=True)
        wait_until_collected(environ)
    return done.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
