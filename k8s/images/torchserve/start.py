"""Run TorchServe in a container: pack the delivered artifacts, listen on every interface, end gracefully on SIGTERM.

Reads the model repository at MODEL_REPOSITORY, writes archives and configuration below ARTIFACTS_DIR. The management
API stays on loopback. TorchServe's launcher ignores SIGTERM when it is process 1, so this one passes it on to Java.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

import psutil

from contract import ARTIFACTS, MODEL_STORE, StageError
from serving.process.launcher import start
from serving.repository import read_artifacts
from serving.server import Settings
from serving.servers.torchserve import SERVER, render_config


def main() -> int:
    """Start it, pass SIGTERM on, and end as it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    settings = Settings(arguments.threads, arguments.workers, max_batch_size=1, max_queue_delay_us=1000)
    artifacts = {name: m for name, m in read_artifacts().items() if m.format in SERVER.formats}
    launch = SERVER.launch("pip", artifacts, SERVER.ports, settings, ARTIFACTS / "torchserve")
    config = render_config(artifacts, SERVER.ports, settings, MODEL_STORE, "0.0.0.0")  # noqa: S104
    (ARTIFACTS / "torchserve" / "config.properties").write_text(config)
    running = start(launch, log=Path("/dev/stdout"))

    def stop(_number: int, _frame: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            if child.name() == "java":
                child.terminate()  # it answers what is in flight and takes its workers along

    signal.signal(signal.SIGTERM, stop)
    return running.process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
